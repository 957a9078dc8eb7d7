# SPDX-License-Identifier: Apache-2.0
"""The real API server: what it says of a pod shows in spans and decides who is traced, from when it
says so on; what it refuses, or that it is away, is said in /status and stops no span.

A server that misbehaves is tests/live/test_kube.py's. The truth is what the test asked the server to
keep, what the client was answered, and the server's audit log.
"""

import json
import subprocess

import pytest

import wait
from cluster import Client
from collector import Collector
from peers import Losses, is_traced
from programs import Stopped
from spans import await_rows, await_traced, resources, rows

PODS = "/api/v1/namespaces/app/pods"
REQUESTS = 10


@pytest.fixture(scope="session")
def bound(api):
    """The API server, and the agent may read it."""
    api.allow("pods", "services")
    return api


@pytest.fixture
def both(api, make):
    """both(...): a pod in the API server and in containerd, under one uid."""
    made = []

    def make_both(name, container, port, **meta):
        uid = api.pod("app", name, container, **meta)
        made.append(f"{PODS}/{name}?gracePeriodSeconds=0")
        pod = make("app", name, container, port, uid=uid)
        api.is_running(pod)
        return pod

    yield make_both
    for path in made:
        api.ask("DELETE", path)


@pytest.fixture
def start(folder, api):
    """start(selector): an agent."""
    with_agent = []

    def start_one(selector):
        c = Collector(folder, *api.settings(), "--discovery-instrument", selector)
        with_agent.append(c)
        return c.start()

    yield start_one
    for c in with_agent:
        c.stop()


def note(collector, key="pods"):
    return collector.tempo().get_json("/status")["notes"].get("kubernetes", {}).get(key, "")


def await_watching(collector):
    wait.until("it watches", lambda: note(collector) == note(collector, "services") == "watching", 60)


def asked(collector, pod, prefix):
    """The resource of the spans of some requests, once all are there."""
    truth = pod.ask(prefix, REQUESTS)
    wait.until(f"spans of {prefix}", lambda: set(truth) <= set(rows(collector.tempo(), pod)), 15)
    return resources(collector.tempo(), pod, prefix + ".*")


def until_spans_say(collector, pod, prefix, **words):
    """Requests until all spans of a round of them say so."""
    words = {key.replace("_", "."): value for key, value in words.items()}
    rounds = iter(range(1000))

    def say():
        found = asked(collector, pod, f"{prefix}-{next(rounds)}")
        return all(r.get(k) == v for r in found for k, v in words.items())

    wait.until(f"spans that say {words}", say, 30, 0.2)


# Before `bound`: the agent has no rights yet.
def test_refused_then_allowed(api, both, start, request):
    """403 is a sentence in /status and stops nothing; with the rights come the labels and owners."""
    apps = "/apis/apps/v1/namespaces/app/"
    labels = {"app": "web", "pod-template-hash": "7d9c5b8f6d"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "nginx", "image": "x"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    web = api.create(apps + "deployments", "Deployment", "web", spec=spec)["metadata"]
    owner = {"apiVersion": "apps/v1", "controller": True}
    replicas = api.create(apps + "replicasets", "ReplicaSet", "web-7d9c5b8f6d", spec=spec, metadata={
        "ownerReferences": [{**owner, "kind": "Deployment", "name": "web", "uid": web["uid"]}]})["metadata"]
    pod = both("web-7d9c5b8f6d-x2x4q", "nginx", 80, labels=labels, ownerReferences=[
        {**owner, "kind": "ReplicaSet", "name": replicas["name"], "uid": replicas["uid"]}])
    c = start("k8s_namespace=app")
    wait.until("a note", lambda: "403: the service account needs get, list and watch" in note(c))
    await_traced(c, pod)
    for r in asked(c, pod, "/refused"):
        assert (r["k8s.pod.name"], r["service.name"]) == (pod.name, "web")
        assert "k8s.deployment.name" not in r
    request.getfixturevalue("bound")
    await_watching(c)
    until_spans_say(c, pod, "/allowed", k8s_deployment_name="web", k8s_replicaset_name="web-7d9c5b8f6d",
                    k8s_pod_uid=pod.uid, service_name="web")


def test_annotation_changes(bound, both, start):
    """An annotation that changes shows in later spans; earlier ones keep what was true then."""
    pod = both("shop-0", "shop", 80)
    c = start("k8s_namespace=app")
    await_traced(c, pod)
    assert {r["service.name"] for r in asked(c, pod, "/before")} == {"shop-0"}
    bound.change(pod, annotations={"resource.opentelemetry.io/service.name": "storefront"})
    until_spans_say(c, pod, "/after", service_name="storefront")
    bound.change(pod, annotations={"resource.opentelemetry.io/service.name": "checkout"})
    until_spans_say(c, pod, "/later", service_name="checkout")
    assert {r["service.name"] for r in resources(c.tempo(), pod, "/before.*")} == {"shop-0"}


def test_service_names_the_server(bound, both, start, node):
    """The client's server.address is the Service at that address. (kube-proxy's part is played by
    routes: the backend has the Service's address itself.)"""
    front, back = both("front-0", "front", 80), both("back-0", "back", 8080)
    service = bound.create("/api/v1/namespaces/app/services", "Service", "backend", spec={
        "selector": {"app": "back"}, "ports": [{"port": 8080}]})["spec"]["clusterIP"]
    subprocess.run(back.enter("ip", "addr", "add", f"{service}/32", "dev", "eth0"), check=True)
    subprocess.run(node.enter("ip", "route", "add", service, "via", back.ip), check=True)
    c = start("k8s_namespace=app")
    await_watching(c)
    client = Client(front.enter, service, 8080, "/called", REQUESTS)
    wait.until("the client is traced", lambda: is_traced(c, client.pid))
    truth = client.go().answers()
    found = wait.until("calls", lambda: (lambda t: t if len(t) >= REQUESTS else None)(c.tempo().search(
        '{ kind = client && span.server.address = "backend" }', 100)), 15)
    spans = [s for t in found for s in c.tempo().trace(t["traceID"])]
    calls = [(s.attrs["url.path"], s.attrs["http.response.status_code"]) for s in spans if s.kind == "CLIENT"]
    assert sorted(calls) == sorted(truth)
    assert {(s.service, s.resource["k8s.pod.name"]) for s in spans if s.kind == "CLIENT"} == {
        ("front-0", "front-0")}
    by_id = {s.id: s for s in spans}
    assert all(by_id[s.parent].kind == "CLIENT" for s in spans if s.kind == "SERVER")
    assert sum(s.service == "back-0" for s in spans) == REQUESTS


def test_selected_by_label(bound, both, start):
    """Labels select, also those that come while a pod is running, and those that go no longer do."""
    chosen, other = both("chosen-0", "a", 80, labels={"trace": "yes"}), both("other-0", "b", 80)
    c = start("k8s_namespace=app k8s_pod_labels.trace=y* open_ports=80")
    losses = Losses(c.tempo())
    await_traced(c, chosen)
    truth = chosen.ask("/chosen", REQUESTS)
    other.ask("/not-yet", REQUESTS)
    assert await_rows(c.tempo(), chosen, truth) == sorted(truth)
    for n in range(2):
        bound.change(other, labels={"trace": "yes"})
        await_traced(c, other)
        truth = other.ask(f"/labelled-{n}", REQUESTS)
        wait.until("its spans", lambda t=truth: set(t) <= set(rows(c.tempo(), other)), 15)
        bound.change(other, labels={"trace": "no"})
        await_not_traced(c, other)
        other.ask(f"/no-more-{n}", REQUESTS)
    marker = chosen.ask("/last", 1)  # when its span is there, those before it would be
    wait.until("the last span", lambda: set(marker) <= set(rows(c.tempo(), chosen)), 15)
    assert {path.rsplit("-", 1)[0] for path, _ in rows(c.tempo(), other)} == {"/labelled-0", "/labelled-1"}
    assert losses.since() == {}


def await_not_traced(collector, pod):
    pids = {str(pid) for pid in pod.pids()}
    wait.until(f"{pod.name} is not traced", lambda: not pids & collector.tempo().get_json("/status")[
        "notes"].get("processes", {}).keys(), 15)


def watch_from(api, version):
    """What the server answers to a watch of that version first."""
    return api.ask("GET", f"/api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion={version}")


def test_server_restarts(bound, both, start):
    """The API server stops: spans go on with what is known, /status says so. It comes back: what
    changed meanwhile is known, though the version to go on from is too old for it (410)."""
    pod = both("steady-0", "steady", 80, annotations={"resource.opentelemetry.io/service.name": "first"})
    c = start("k8s_namespace=app")
    await_watching(c)
    await_traced(c, pod)
    version = bound.change(pod, annotations={"resource.opentelemetry.io/service.name": "second"})
    until_spans_say(c, pod, "/there", service_name="second")
    bound.stop()
    wait.until("a note", lambda: "cannot be had" in note(c), 30)
    until_spans_say(c, pod, "/away", service_name="second")
    lists = bound.asked("list")
    with Stopped(c.pid):  # it must not see the change while it happens
        bound.start()
        bound.change(pod, annotations={"resource.opentelemetry.io/service.name": "third"})
        bound.stop()
        bound.start()
        event = watch_from(bound, version)
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410), json.dumps(event)
    await_watching(c)
    until_spans_say(c, pod, "/back", service_name="third")
    assert bound.asked("list") == lists + 1
