# SPDX-License-Identifier: Apache-2.0
"""Pods without Kubernetes: a cgroup with a pod's path, and an API server that does as it is told.

The real ones are in scripts/kind-test. This one is for faults that a real server cannot be made to
show: a version that is too old in the middle of a stream, half an event, a token that expires.
"""

import contextlib
import http.server
import json
import os
import queue
import shutil
import threading
import urllib.parse
import uuid

RUNTIME = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"


def hierarchy():
    """Where cgroups can be made: version 2 if it is mounted, else any of version 1."""
    with open("/proc/self/mounts", encoding="ascii") as f:
        mounts = [line.split()[1:3] for line in f if line.split()[2].startswith("cgroup")]
    return sorted(mounts, key=lambda m: (m[1] != "cgroup2", "systemd" not in m[0]))[0][0]


class Pod:
    """A cgroup such as a pod's container has, and what containerd would have written of it."""

    def __init__(self, namespace, name, container):
        self.uid, self.id = str(uuid.uuid4()), os.urandom(32).hex()
        self.namespace, self.name, self.container = namespace, name, container
        self.top = os.path.join(hierarchy(), f"kubepods-wst-{self.uid[:8]}")
        self.group = os.path.join(self.top, "pod" + self.uid, self.id)
        self.bundle = os.path.join(RUNTIME, self.id)

    def __enter__(self):
        os.makedirs(self.group)
        os.makedirs(self.bundle)
        said = {"container-name": self.container, "sandbox-name": self.name,
                "sandbox-namespace": self.namespace, "sandbox-uid": self.uid}
        with open(os.path.join(self.bundle, "config.json"), "w", encoding="ascii") as f:
            json.dump({"annotations": {"io.kubernetes.cri." + k: v for k, v in said.items()}}, f)
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.bundle)
        folder = RUNTIME
        with contextlib.suppress(OSError):  # those that others use stay
            while folder != "/run":
                os.rmdir(folder)
                folder = os.path.dirname(folder)
        for at in (self.group, os.path.dirname(self.group), self.top):
            os.rmdir(at)

    def args(self, *args):
        """A command that runs in the pod."""
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', os.path.join(self.group, "cgroup.procs"),
                *args]

    def object(self, version, owner=None, labels=None, annotations=None):
        meta = {"name": self.name, "namespace": self.namespace, "uid": self.uid,
                "resourceVersion": str(version), "labels": labels or {},
                "annotations": annotations or {}}
        if owner:
            meta["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
        return {"metadata": meta}


def service(name, address):
    return {"metadata": {"name": name, "namespace": "x", "resourceVersion": "1"},
            "spec": {"clusterIP": address}}


class ApiServer:
    """lists: what a list of a collection says. A watch sends what is put into streams[path]: an event
    as (type, object), bytes as they are, or None to end it. refuse: a status for all requests."""

    def __init__(self):
        self.lists = {"/api/v1/pods": [], "/api/v1/services": []}
        self.streams = {path: queue.Queue() for path in self.lists}
        self.requests, self.refuse, self.version = [], None, 1
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                api.requests.append((url.path, query, self.headers.get("Authorization")))
                if api.refuse:
                    self.answer(api.refuse, {"kind": "Status", "code": api.refuse})
                elif "watch" in query:
                    self.watch(api.streams[url.path])
                else:
                    self.answer(200, {"metadata": {"resourceVersion": str(api.version)},
                                      "items": api.lists[url.path]})

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def watch(self, stream):
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while (item := stream.get()) is not None:
                    data = item if isinstance(item, bytes) else json.dumps(
                        {"type": item[0], "object": item[1]}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                self.close_connection = True

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        for stream in self.streams.values():
            for _ in range(4):
                stream.put(None)
        self.server.shutdown()
        self.server.server_close()

    def count(self, path, watch):
        return sum(p == path and ("watch" in q) == watch for p, q, _ in self.requests)
