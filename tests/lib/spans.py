# SPDX-License-Identifier: Apache-2.0
"""The spans of a pod (cluster.py), as the tests of Kubernetes compare them with what was asked."""

import wait
from peers import is_traced
from tempo import attrs_of

SECONDS = 15


def search(tempo, pod, keys):
    query = '{ resource.container.id = "%s" && kind = server } | select(%s)' % (pod.id, ", ".join(keys))
    found = tempo.search(query, 100000, 100)
    return [attrs_of(s["attributes"]) for t in found for s in t["spanSets"][0]["spans"]]


def rows(tempo, pod):
    """[(path, status)] of its server spans, sorted."""
    return sorted((a["url.path"], a["http.response.status_code"]) for a in search(
        tempo, pod, ("span.url.path", "span.http.response.status_code")))


def await_rows(tempo, pod, truth):
    """Its rows once there are as many as expected; what there is when time is up."""
    try:
        wait.until(f"{len(truth)} spans of {pod.name}", lambda: len(rows(tempo, pod)) >= len(truth), SECONDS)
    except wait.TimedOut:
        pass  # the comparison says it better
    return rows(tempo, pod)


def resources(tempo, pod, paths=".*"):
    """The resource attributes of each of its server spans of such paths."""
    query = '{ resource.container.id = "%s" && kind = server && span.url.path =~ "%s" }' % (pod.id, paths)
    return [s.resource for i in tempo.search_ids(query, 100000) for s in tempo.trace(i)
            if s.resource.get("container.id") == pod.id]


def tracked(collector):
    return collector.tempo().metrics()["wirespan_tracked_processes"]


def await_traced(collector, *pods):
    for pod in pods:
        wait.until(f"{pod.name} is traced", lambda: any(is_traced(collector, pid) for pid in pod.pids()), SECONDS)
