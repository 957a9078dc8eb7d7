# SPDX-License-Identifier: Apache-2.0
"""Pods and no API server: what the cgroup path and the runtime's file say is enough to select and
to name, from the first request of a new pod on, and nothing of a pod that is gone stays.

The truth is what the client was answered, pod by pod, and the ids that the runtime gave.
"""

import pytest

import wait
from cluster import Client
from collector import Collector
from spans import await_rows, await_traced, resources, rows, tracked
from peers import Losses

REQUESTS = 20


@pytest.fixture
def collector(folder):
    with Collector(folder, "--discovery-instrument", "k8s_namespace=app", "--k8s-cluster-name", "here",
                   "--k8s-node-name", "node-1") as c:
        yield c


@pytest.fixture
def app(make):
    return [make("app", "web-7d9c5b8f6d-x2x4q", "nginx", 80, "besteffort"),
            make("app", "api-6c8f9d7b5c-k9z2m", "api", 8080, "burstable"),
            make("app", "db-0", "postgres", 5432, "guaranteed")]


def test_names(make, app, collector):
    """Three pods of three qualities of service, there before the agent; and one of another
    namespace, on a port that one of them has."""
    noise = make("other", "noise-5b6d7c8f9-abcde", "noise", 8080)
    await_traced(collector, *app)
    losses = Losses(collector.tempo())
    truth = {pod: pod.ask("/names-" + pod.container, REQUESTS) for pod in [noise, *app]}
    assert all(len(asked) == REQUESTS for asked in truth.values())
    tempo = collector.tempo()
    for pod, service in zip(app, ("web", "api", "db")):
        assert await_rows(tempo, pod, truth[pod]) == sorted(truth[pod])
        for r in resources(tempo, pod):
            assert {k: r.get(k) for k in ("service.name", "k8s.namespace.name", "k8s.pod.name", "k8s.pod.uid",
                                          "k8s.container.name", "container.id", "k8s.node.name",
                                          "k8s.cluster.name", "service.namespace", "container.image.name",
                                          "service.instance.id", "k8s.deployment.name")} == {
                "service.name": service, "k8s.namespace.name": "app", "k8s.pod.name": pod.name,
                "k8s.pod.uid": pod.uid, "k8s.container.name": pod.container, "container.id": pod.id,
                "k8s.node.name": "node-1", "k8s.cluster.name": "here", "service.namespace": "app",
                "container.image.name": "localhost/busybox:1",
                "service.instance.id": f"app.{pod.name}.{pod.container}", "k8s.deployment.name": None}
    assert rows(tempo, noise) == []
    assert tempo.search('{ span.url.path =~ "/names-noise.*" }') == []
    assert losses.since() == {}


def test_first_request(node, app, collector):
    """A client tries to connect from before the program starts, which listens at once and has a
    process for each request: each has its span."""
    for n in range(10):
        pod = node.pod("app", f"first-{n}", "first", 9000 + n)
        client = Client(node.enter, pod.ip, pod.port, f"/first-{n}", REQUESTS).go()
        try:
            pod.run()
            truth = client.answers()
            assert await_rows(collector.tempo(), pod, truth) == sorted(truth)
        finally:
            client.end()
            pod.remove()


def test_forgotten(make, node, app, collector):
    """Pods that come and go under requests: those processes are traced that were before, nothing is
    lost. A sandbox's process is its pod's too."""
    before = {str(pid) for pod in app for pid in pod.pids(pod.uid)}
    assert len(before) == 6
    tempo = collector.tempo()

    def is_as_before():
        notes = tempo.get_json("/status")["notes"]["processes"]
        return notes.keys() == before and tracked(collector) == len(before)

    wait.until("six processes are traced", is_as_before)
    losses = Losses(tempo)
    for n in range(6):
        pod = node.pod("app", f"short-{n}", "short", 9100).run()
        try:
            truth = pod.ask(f"/short-{n}", REQUESTS)
            assert await_rows(tempo, pod, truth) == sorted(truth)
        finally:
            pod.remove()
        wait.until("the same six again", is_as_before, 15)
    assert losses.since() == {}
