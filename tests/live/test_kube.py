# SPDX-License-Identifier: Apache-2.0
"""Pods, their names and the API server that knows more of them, with faults of that server.

The real cluster is scripts/kind-test; here processes run in cgroups with a pod's path.
"""

import http.client
import os
import subprocess
import threading
from concurrent import futures

import pytest

import wait
from collector import Collector, free_port
from kube import ApiServer, Pod, service
from peers import is_traced
from programs import answers, run_client
from tempo import attrs_of

PODS = "/api/v1/pods"
CAP_SYS_PTRACE = 19
NAMESPACE = f"ns-{os.getpid()}"


@pytest.fixture
def api():
    with ApiServer() as a:
        yield a


@pytest.fixture
def pod():
    with Pod(NAMESPACE, "web-5c9b8d7f4-x7k2p", "nginx") as p:
        yield p


@pytest.fixture
def token(folder):
    path = os.path.join(folder, "token")
    with open(path, "w", encoding="ascii") as f:
        f.write("first\n")
    return path


@pytest.fixture
def collector(folder, api, token):
    args = ["--discovery-instrument", f"k8s_namespace={NAMESPACE}", "--k8s-node-name", "node-1",
            "--k8s-api-server", api.url, "--k8s-token-file", token, "--k8s-ca-file", ""]
    with Collector(folder, *args) as c:
        yield c


class PodServer:
    """A web server of which nobody says a name, in the pod; forks: for each request."""

    def __init__(self, collector, pod, folder, forks=False):
        self.port, self.tempo = free_port(), collector.tempo()
        env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        command = ["busybox", "httpd", "-f", "-p", f"127.0.0.1:{self.port}", "-h", folder] if forks else [
            "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", str(self.port), "--directory",
            folder]
        with open(os.path.join(folder, "server.log"), "wb") as log:
            self.process = subprocess.Popen(pod.args(*command), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=env, start_new_session=True)
        try:
            wait.until("the server", lambda: answers(self.port), 15)
            wait.until("it is traced", lambda: is_traced(collector, self.process.pid), 15)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(15)

    def ask(self, path):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        conn.request("GET", path)
        conn.getresponse().read()
        conn.close()

    def resource(self, path):
        """The resource attributes of the span of one request."""
        self.ask(path)
        found = wait.until(f"a span of {path}", lambda: self.tempo.search(
            '{ span.url.path = "%s" && kind = server }' % path, 5, 60), 15)
        return self.tempo.trace(found[0]["traceID"])[0].resource

    def until(self, path, key, value):
        """Requests until their spans say so."""
        cnt = iter(range(1000))
        wait.until(f"{key} is {value}",
                   lambda: self.resource(f"{path}-{next(cnt)}").get(key) == value, 30, 0.3)


def note(collector, key):
    return collector.tempo().get_json("/status")["notes"].get("kubernetes", {}).get(key)


def test_runtime_alone(folder, pod):
    """No API server: names from the runtime's file, the owner a guess that is good for a name."""
    with Collector(folder, "--discovery-instrument", f"k8s_namespace={NAMESPACE}") as c, \
            PodServer(c, pod, folder) as server:
        r = server.resource("/alone")
        assert {k: r.get(k) for k in ("service.name", "k8s.pod.name", "k8s.namespace.name", "k8s.pod.uid",
                                      "k8s.container.name", "container.id", "service.instance.id",
                                      "k8s.deployment.name")} == {
            "service.name": "web", "k8s.pod.name": pod.name, "k8s.namespace.name": NAMESPACE,
            "k8s.pod.uid": pod.uid, "k8s.container.name": "nginx", "container.id": pod.id,
            "service.instance.id": f"{NAMESPACE}.{pod.name}.nginx", "k8s.deployment.name": None}


def test_api(folder, api, pod, collector, token):
    """Owner, annotation and service names; a change of the pod shows in its next spans."""
    api.streams[PODS].put(("ADDED", pod.object(2, ("ReplicaSet", "web-5c9b8d7f4"),
                                                {"pod-template-hash": "5c9b8d7f4"})))
    api.streams["/api/v1/services"].put(("ADDED", service("backend", "127.0.0.9")))
    with PodServer(collector, pod, folder) as server:
        server.until("/owned", "k8s.deployment.name", "web")
        assert server.resource("/owned")["k8s.replicaset.name"] == "web-5c9b8d7f4"
        api.streams[PODS].put(("MODIFIED", pod.object(3, ("ReplicaSet", "web-5c9b8d7f4"), {}, {
            "resource.opentelemetry.io/service.name": "storefront"})))
        server.until("/named", "service.name", "storefront")
        other = free_port()
        with subprocess.Popen(["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.9", str(other)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as backend:
            try:
                run_client(collector, "caller", pod.args("curl", "-s", "--retry", "20", "--retry-delay", "0",
                                                         "--retry-connrefused", "-K", "-"),
                           f'url = "http://127.0.0.9:{other}/asked"\noutput = "/dev/null"\n')
            finally:
                backend.terminate()
        found = wait.until("the call", lambda: server.tempo.search(
            '{ kind = client && span.server.address = "backend" }', 5, 60), 15)
        assert found
    assert {q.get("fieldSelector") for p, q, _ in api.requests if p == PODS} == {"spec.nodeName=node-1"}
    assert {auth for _, _, auth in api.requests} == {"Bearer first"}


def test_change_while_processes_end(folder, api, pod, collector):
    """The pod changes, again and again, while processes of it begin and end: what is known of one that
    has just ended stays."""
    ended, rounds = threading.Event(), 10

    def ask_on(server, client):
        cnt = 0
        while not ended.is_set():
            server.ask(f"/ends-{client}-{cnt}")
            cnt += 1
        return cnt

    with PodServer(collector, pod, folder, forks=True) as server, futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask_on, server, n) for n in range(4)]
        try:
            for n in range(rounds):
                api.streams[PODS].put(("MODIFIED", pod.object(n + 2, annotations={
                    "resource.opentelemetry.io/service.name": f"name-{n}"})))
                server.until(f"/round-{n}", "service.name", f"name-{n}")
        finally:
            ended.set()
        cnt = sum(c.result() for c in clients)
        ends = '{ kind = server && span.url.path =~ "/ends-.*" } | select(resource.container.id)'
        found = wait.until("their spans", lambda: (lambda t: t if len(t) >= cnt else None)(
            server.tempo.search(ends, 100000, 100)), 15)
    of = [attrs_of(s["attributes"]).get("container.id") for t in found for s in t["spanSets"][0]["spans"]]
    assert len(of) == cnt and set(of) == {pod.id}


@pytest.mark.parametrize("fault", [
    ("ERROR", {"kind": "Status", "code": 410}),
    ("ERROR", {"kind": "Status", "code": 500}),
    b'{"type":"ADDED","object":{"metadata":\n',
    b"no event at all\n",
], ids=["gone", "error", "half an event", "garbage"])
def test_stream_fails(folder, api, pod, collector, fault):
    """Whatever the stream says, what was missed meanwhile is known afterwards."""
    with PodServer(collector, pod, folder) as server:
        wait.until("the watch", lambda: api.count(PODS, True), 15)
        api.lists[PODS] = [pod.object(9, ("DaemonSet", "web"))]
        api.version = 9
        api.streams[PODS].put(fault)
        api.streams[PODS].put(None)
        if fault[0] == "ERROR" and fault[1]["code"] == 500:  # the version still holds: no new list
            wait.until("the next watch", lambda: api.count(PODS, True) > 1, 15)
            api.streams[PODS].put(("MODIFIED", api.lists[PODS][0]))
        server.until("/after", "k8s.daemonset.name", "web")
    wait.until("it watches", lambda: note(collector, "pods") == "watching", 15)


def capabilities(pid):
    """Of each thread, as bits."""
    out = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
            out += [int(line.split()[1], 16) for line in f if line.startswith("CapPrm")]
    return out


def test_capabilities(api, collector):
    """Of all threads one alone may look into other processes: not those that ask the API server."""
    wait.until("the watches", lambda: all(api.count(path, True) for path in api.lists), 15)
    assert sum(bool(caps & 1 << CAP_SYS_PTRACE) for caps in capabilities(collector.pid)) == 1


def test_bookmark(api, collector):
    """A watch that ends goes on from the version of the last bookmark."""
    api.streams[PODS].put(("BOOKMARK", {"metadata": {"resourceVersion": "77"}}))
    api.streams[PODS].put(None)
    wait.until("the next watch", lambda: any(
        q.get("resourceVersion") == "77" for p, q, _ in api.requests if p == PODS), 15)
    assert api.count(PODS, False) == 1


def test_token_is_renewed(api, collector, token):
    """401 says so, and the token is read anew."""
    wait.until("the watch", lambda: api.count(PODS, True), 15)
    api.refuse = 401
    api.streams[PODS].put(None)
    wait.until("a note", lambda: "401" in (note(collector, "pods") or ""), 15)
    with open(token, "w", encoding="ascii") as f:
        f.write("second")
    api.refuse = None
    wait.until("it watches", lambda: note(collector, "pods") == "watching", 15)
    assert api.requests[-1][2] == "Bearer second"


@pytest.mark.parametrize("status,words", [(403, "get, list and watch"), (500, "status 500")])
def test_refused_from_the_start(folder, api, pod, status, words):
    """No API for us: ready at once, spans with what the runtime knows, and a sentence."""
    api.refuse = status
    with Collector(folder, "--discovery-instrument", f"k8s_namespace={NAMESPACE}", "--k8s-api-server",
                   api.url) as c, PodServer(c, pod, folder) as server:
        assert c.ready_after < 3
        assert server.resource("/refused")["k8s.pod.name"] == pod.name
        assert words in note(c, "pods")
        assert words in c.log()
