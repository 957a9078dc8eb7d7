# SPDX-License-Identifier: Apache-2.0
"""What is left out on purpose is left out in the kernel, whole traces at a time, and counted; errors
are kept all the same."""

from collector import Collector
from tempo import chain_faults

REQUESTS = 2000
RATIO = 0.25


def spans_of(tempo, prefix):
    return [tempo.trace(i[0]) for i in tempo.ids_by_rid(prefix).values()]


def test_ratio_keeps_whole_traces(stack, folder):
    args = ["--open-ports", stack.ports, "--redact-query", "off",
            "--sampling-ratio", str(RATIO), "--sampling-slow", "1h"]
    with Collector(folder, *args) as collector:
        tempo = collector.tempo()
        for i in range(REQUESTS):
            stack.request("GET", f"/api/todos?rid=q{i}")
        stack.request("GET", "/api/report?broken=1&rid=error")
        tempo.await_rid("error")
        traces = spans_of(tempo, "q")
        assert all(chain_faults(spans) == [] for spans in traces), "a trace is kept in part"
        # 2,000 draws of 1/4: six standard deviations are 116
        assert abs(len(traces) - REQUESTS * RATIO) < 116
        dropped = tempo.metrics()["wirespan_spans_dropped_total"]
        assert dropped == (REQUESTS - len(traces)) * 5
        assert tempo.losses() == {}


def test_ignored_paths_and_what_they_call(stack, folder):
    args = ["--open-ports", stack.ports, "--redact-query", "off", "--ignore-paths",
            "/health,/api/todos/7"]
    with Collector(folder, *args) as collector:
        tempo = collector.tempo()
        for i in range(20):
            stack.request("GET", f"/api/todos/7?rid=i{i}")
            stack.request("GET", f"/health?rid=h{i}")
        stack.request("GET", "/api/todos/77?rid=other")
        _, spans = tempo.await_rid("other")
        assert chain_faults(spans) == []
        assert [s.name for t in tempo.search("{ }", 1000, 100)
                for s in tempo.trace(t["traceID"].rjust(32, "0"))] == [s.name for s in spans]
        assert tempo.metrics()["wirespan_spans_dropped_total"] == 20 * 5 + 20 * 3
