# SPDX-License-Identifier: Apache-2.0
"""Real pods (containerd, without a kubelet) and the real API server (without controllers), as objects.

The scripts of scripts/kind do the work. What would be the kubelet's is the test's: a pod is made in
the API server first, if it shall be there, and then run under the uid that it got.
"""

import http.client
import json
import os
import ssl
import subprocess
import uuid

from collector import free_port
from stack import ROOT

KIND = os.path.join(ROOT, "scripts", "kind")
CLIENT = os.path.join(ROOT, "tests", "k8s", "client.py")
NODE = "node-1"


def script(folder, *args, text=None):
    done = subprocess.run([os.path.join(KIND, args[0]), *args[1:]], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          env={**os.environ, "K8S_RUN": folder})
    if done.returncode:
        raise AssertionError(f"{' '.join(args)}: {done.stdout} {done.stderr}")
    return done.stdout.strip()


class Node:
    """containerd and what it needs to make pods; ends with all of them."""

    def __init__(self, folder):
        self.folder, self.pods = folder, []

    def __enter__(self):
        try:
            script(self.folder, "cri-pods", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        script(self.folder, "cri-pods", "down")

    def pod(self, *args, **more):
        return Pod(self, *args, **more)

    def enter(self, *args):
        """A command that runs in the node."""
        return ["env", f"K8S_RUN={self.folder}", os.path.join(KIND, "cri-pods"), "node", *args]


class Client:
    """tests/k8s/client.py, in the place that `enter` leads to. It is there, and waits for go()."""

    def __init__(self, enter, ip, port, prefix, cnt):
        self.cnt = cnt
        self.process = subprocess.Popen(enter("/usr/bin/python3", CLIENT, ip, str(port), prefix, str(cnt)),
                                        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self):
        return self.process.pid

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def answers(self):
        """[(path, status)], all that were asked for."""
        text = self.process.communicate(timeout=60)[0]
        rows = [line.split() for line in text.splitlines()]
        assert len(rows) == self.cnt, f"{len(rows)} answers instead of {self.cnt}"
        return [(path, int(status)) for path, status in rows]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Pod:
    """A sandbox, and in it one web server, which knows no path; run() is what starts it."""

    def __init__(self, node, namespace, name, container, port, qos="besteffort", uid=None):
        self.node, self.namespace, self.name, self.port = node, namespace, name, port
        self.container, self.uid = container, uid or str(uuid.uuid4())
        self.id = None
        self.ip = script(node.folder, "cri-pods", "sandbox", namespace, name, self.uid, qos)

    def run(self, *command):
        """Without a command: busybox, each request in a process of its own."""
        command = command or ("/bin/busybox", "httpd", "-f", "-p", str(self.port))
        self.id = script(self.node.folder, "cri-pods", "start", self.name, self.container, *command)
        return self

    def remove(self):
        script(self.node.folder, "cri-pods", "rm", self.name)

    def pids(self, of=None):
        """Of its container, as the machine numbers them; of=its uid: with the sandbox's."""
        out = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
                    if (of or self.id) in f.read():
                        out.append(int(pid))
            except OSError:
                pass
        return out

    def enter(self, *args):
        """A command that runs in its network, as a process of its container."""
        groups = "".join(f'echo $$ >"{g}"; ' for g in self.groups())
        return ["sh", "-c", groups + 'exec nsenter -t "$0" -n -- "$@"', str(self.pids()[0]), *args]

    def groups(self):
        """The cgroup.procs that a process writes itself into to be of this container."""
        with open(f"/proc/{self.pids()[0]}/cgroup", encoding="ascii") as f:
            paths = {line.strip().split(":")[2] for line in f if self.id in line}
        path = paths.pop()
        assert not paths, f"{self.id} is in several groups"
        return [os.path.join(top, "cgroup.procs") for top, _, _ in os.walk("/sys/fs/cgroup")
                if top.endswith(path)]

    def ask(self, prefix, cnt=1):
        """That many requests from the node, each on a connection of its own; [(path, status)]."""
        client = Client(self.node.enter, self.ip, self.port, prefix, cnt)
        try:
            return client.go().answers()
        finally:
            client.end()


class Api:
    """The API server. As "admin" anything is allowed, as "agent" what a test has bound."""

    def __init__(self, folder):
        self.folder, self.port, self.etcd_port = folder, free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = os.path.join(folder, "envtest", "ca.crt")
        self.token = os.path.join(folder, "token")

    def __enter__(self):
        with open(self.token, "w", encoding="ascii") as f:
            f.write("agenttoken")
        try:
            script(self.folder, "envtest", "up", str(self.port), str(self.etcd_port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        script(self.folder, "envtest", "down")

    def stop(self):
        script(self.folder, "envtest", "stop")

    def start(self):
        script(self.folder, "envtest", "start")

    def settings(self):
        return ["--k8s-node-name", NODE, "--k8s-api-server", self.url, "--k8s-token-file", self.token,
                "--k8s-ca-file", self.ca]

    def ask(self, method, path, body=None, kind="application/json"):
        conn = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30,
                                           context=ssl.create_default_context(cafile=self.ca))
        conn.request(method, path, json.dumps(body) if body else None,
                     {"Authorization": "Bearer admintoken", "Content-Type": kind})
        answer = conn.getresponse()
        text = answer.read().decode()
        conn.close()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
        return json.loads(text.splitlines()[0])

    def create(self, path, kind, name, **more):
        meta = {"name": name, **more.pop("metadata", {})}
        return self.ask("POST", path, {"kind": kind, "metadata": meta, **more})

    def namespace(self, name):
        return self.create("/api/v1/namespaces", "Namespace", name)

    def allow(self, *what):
        """get, list and watch of it, for the agent."""
        rbac = "/apis/rbac.authorization.k8s.io/v1/"
        role = "-".join(what)
        self.create(rbac + "clusterroles", "ClusterRole", role, rules=[
            {"apiGroups": [""], "resources": what, "verbs": ["get", "list", "watch"]}])
        self.create(rbac + "clusterrolebindings", "ClusterRoleBinding", role,
                    subjects=[{"kind": "User", "name": "agent"}],
                    roleRef={"kind": "ClusterRole", "name": role})

    def pod(self, namespace, name, container, **meta):
        """On our node; its uid."""
        spec = {"nodeName": NODE, "containers": [{"name": container, "image": "localhost/busybox:1"}]}
        return self.create(f"/api/v1/namespaces/{namespace}/pods", "Pod", name, spec=spec,
                           metadata=meta)["metadata"]["uid"]

    def is_running(self, pod):
        """What a kubelet would say of it now."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self.ask("PATCH", path + "/status", {"status": {
            "phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "containerStatuses": [
                {"name": pod.container, "ready": True, "restartCount": 0, "image": "localhost/busybox:1",
                 "imageID": "", "containerID": "containerd://" + pod.id}]}},
            "application/merge-patch+json")

    def change(self, pod, **meta):
        """Merged into the pod's metadata; the version that it has now."""
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        return self.ask("PATCH", path, {"metadata": meta}, "application/merge-patch+json")[
            "metadata"]["resourceVersion"]

    def asked(self, verb):
        """How often the agent has been answered that (list, watch: when it ended) of pods."""
        with open(os.path.join(self.folder, "envtest", "audit.log"), encoding="utf-8") as f:
            events = [json.loads(line) for line in f if line.endswith("\n")]
        return sum(e["user"].get("username") == "agent" and e["verb"] == verb
                   and e["objectRef"]["resource"] == "pods"
                   and e["responseStatus"]["code"] == 200 for e in events)
