# SPDX-License-Identifier: Apache-2.0
"""What Grafana asks, in the order and the words in which it asks, of spans that the kernel captured.

The datasource (health, query editor, search, trace view) and Traces Drilldown (its tabs), streaming
off: everything is HTTP/1.1 to one URL. Search answers are read as strictly as Grafana's backend reads
them, traces as protobuf in which nothing that it dereferences may be missing. What the answers must
hold is known from the requests that were sent through the stack and from which processes are in it.
"""

import collections
import json
import os
import sys
import time
import urllib.parse

import pytest

import wait
from tempo import CHAIN

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "api"))

from forms import check_keys  # noqa: E402
import replay  # noqa: E402

SERVICES = ["api", "nginx", "postgres"]
SENT = [("GET", "/api/todos", 200), ("GET", "/api/todos", 200), ("GET", "/api/report?broken=1", 500)]
BROWSER = {"Accept": "application/json, text/plain, */*", "Accept-Encoding": "gzip"}
ROOTS = "nestedSetParent<0 && true"  # Drilldown's primary filter and none chosen
SHOWN = "status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight"


class Grafana:
    def __init__(self, tempo, since):
        self.tempo, self.since = tempo, since

    def ask(self, path, accept="application/json", times=True, **params):
        if times:
            params |= {"start": self.since - 60, "end": int(time.time()) + 60}
        target = path + ("?" + urllib.parse.urlencode(params) if params else "")
        return self.tempo.get(target, {"Accept": accept, "User-Agent": "Grafana"})

    def json(self, path, **params):
        status, body = self.ask(path, **params)
        assert status == 200, body
        return json.loads(body)

    def search(self, q, limit=200, spss=10):
        answer = self.json("/api/search", q=q, limit=limit, spss=spss)
        check_keys("", answer)
        assert [int(t["startTimeUnixNano"]) for t in answer["traces"]] == sorted(
            (int(t["startTimeUnixNano"]) for t in answer["traces"]), reverse=True)
        return answer["traces"]

    def values(self, tag, **params):
        """The extra tag= is the plugin's; TAG is percent-encoded into the path."""
        path = f"/api/v2/search/tag/{urllib.parse.quote(tag, safe='')}/values"
        return [v["value"] for v in self.json(path, limit=5000, tag=tag, **params)["tagValues"]]


def span_attrs(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}


@pytest.fixture(scope="module")
def grafana(stack, collector):
    since = int(time.time())
    for n, (method, path, status) in enumerate(SENT):
        assert stack.request(method, path + ("&" if "?" in path else "?") + f"rid=grafana-{n}")[0] == status
    tempo = collector.tempo()
    wait.until("the traces of what was sent", lambda: sum(
        len(tempo.trace(i)) == len(CHAIN) for i in tempo.search_ids("{ span.url.query =~ `(.*&)?rid=grafana-.*` }"))
        == len(SENT))
    return Grafana(tempo, since)


def test_save_and_test(grafana):
    assert grafana.ask("/api/echo", times=False)[0] == 200
    assert grafana.ask("/api/status/buildinfo", times=False)[0] == 200


def test_editor_opens(grafana):
    """Tag names, without and with the range, and values of what the editor shows first."""
    for times in (False, True):
        scopes = {s["name"]: s["tags"] for s in grafana.json("/api/v2/search/tags", times=times, limit=5000)["scopes"]}
        assert {"span", "resource", "intrinsic"} <= set(scopes)
        assert "service.name" in scopes["resource"]
        assert {"http.request.method", "http.route", "db.system.name"} <= set(scopes["span"])
    assert grafana.values("resource.service.name") == SERVICES
    assert grafana.values("name") == sorted({"GET /api/todos", "GET /api/report", "SELECT todos",
                                             "SELECT todo_totals"})
    assert grafana.values("status") == ["error", "ok", "unset"]
    assert grafana.values("span:kind") == ["client", "consumer", "internal", "producer", "server", "unspecified"]


def test_editor_filters(grafana):
    """Values under the filters so far; a filter that is still being typed is none."""
    assert grafana.values("span.db.system.name", q='{resource.service.name="postgres"}') == ["postgresql"]
    assert grafana.values("span.db.system.name", q='{resource.service.name="nginx"}') == []
    assert grafana.values("resource.service.name", q='{status=error && kind=client}') == ["api", "nginx"]
    assert grafana.values("resource.service.name", q='{resource.service.name="x" && }') == SERVICES


def test_search_tab(grafana):
    """The builder's query, limit=20, spss=3: one trace per request, newest first."""
    traces = grafana.search('{resource.service.name="api" && kind=server}', 20, 3)
    assert [t["rootTraceName"] for t in traces] == ["GET /api/report", "GET /api/todos", "GET /api/todos"]
    for t in traces:
        assert t["rootServiceName"] == "nginx"
        assert {k: v["spanCount"] for k, v in t["serviceStats"].items()} == {"nginx": 2, "api": 2, "postgres": 1}
        assert [s["matched"] for s in t["spanSets"]] == [1]
        assert t["spanSet"] == t["spanSets"][0]
    assert traces[0]["serviceStats"]["postgres"]["errorCount"] == 1
    assert "errorCount" not in traces[1]["serviceStats"]["postgres"]


def test_search_without_a_query(grafana):
    assert len(grafana.json("/api/search", limit=20)["traces"]) == len(SENT)


def test_traceql_tab_says_what_is_wrong(grafana):
    status, body = grafana.ask("/api/search", q='{resource.service.name="api" && }', limit=20, spss=3)
    assert status == 400 and b"line 1, col 33" in body


def walk(trace):
    """(resource, scope, fields) of each span; fails where the plugin would dereference nothing."""
    for number, _, rs in replay.fields(trace):
        assert number == 1
        parts = collections.defaultdict(list)
        for n, _, v in replay.fields(rs):
            parts[n].append(v)
        assert len(parts[1]) == 1 and parts[1][0], "a ResourceSpans without a resource, or one without attributes"
        for ss in parts[2]:
            inner = collections.defaultdict(list)
            for n, _, v in replay.fields(ss):
                inner[n].append(v)
            assert len(inner[1]) == 1, "a ScopeSpans without a scope"
            for span in inner[2]:
                fields = {n: v for n, _, v in replay.fields(span)}
                assert 15 in fields, "a span without a status"
                yield parts[1][0], fields


def test_trace_view(grafana):
    """Protobuf, TraceByIDResponse: trace there, and in it resource, scope and status of everything."""
    newest = grafana.search('{resource.service.name="api" && kind=server}', 20, 3)[0]
    for trace_id in (newest["traceID"], newest["traceID"].rjust(32, "0")):
        status, body = grafana.ask(f"/api/v2/traces/{trace_id}", "application/protobuf", times=False)
        assert status == 200
        answer = {n: v for n, _, v in replay.fields(body)}
        spans = list(walk(answer[1]))
        assert len(spans) == len(CHAIN)
        by_id = {f[2]: f for _, f in spans}
        roots = [f for _, f in spans if not f.get(4)]
        assert [f[5] for f in roots] == [b"GET /api/report"]
        assert all(f[4] in by_id for _, f in spans if f.get(4)), "a parent that is not in the trace"
        read = replay.pb("TraceByIDResponse", body)["trace"]["resourceSpans"]
        assert sorted(a["value"]["stringValue"] for rs in read for a in rs["resource"]["attributes"]
                      if a["key"] == "service.name" for _ in rs["scopeSpans"][0]["spans"]) == [
                          "api", "api", "nginx", "nginx", "postgres"]


def test_trace_view_with_time_shift(grafana):
    trace_id = grafana.search("{}", 1, 3)[0]["traceID"]
    assert grafana.ask(f"/api/v2/traces/{trace_id}", "application/protobuf")[0] == 200


def test_trace_view_of_what_is_not_there(grafana):
    assert grafana.ask("/api/v2/traces/123456", "application/protobuf", times=False) == (200, b"\x0a\x00\x12\x00")
    assert grafana.ask("/api/traces/123456", "application/protobuf", times=False) == (404, b"")


def test_drilldown_lists(grafana):
    """The tables below the panels: slow spans, errors, what roots there are."""
    found = grafana.search(f"{{{ROOTS}}} | select(status, resource.service.name, name)", 200, 10)
    assert len(found) == len(SENT)
    for t in found:
        assert [span_attrs(s)["service.name"] for s in t["spanSets"][0]["spans"]] == ["nginx"]
    errors = grafana.search(f"{{{ROOTS} && status = error}} | select(resource.service.name, status)")
    assert [t["rootTraceName"] for t in errors] == ["GET /api/report"]
    assert span_attrs(errors[0]["spanSets"][0]["spans"][0])["status"] == "error"
    assert len(grafana.search(f"{{{ROOTS} && duration > 0 && resource.service.name != nil}}")) == len(SENT)


def test_drilldown_exceptions(grafana):
    """Instrumentation by eBPF has no exceptions: an empty list, not an error."""
    q = (f"{{{ROOTS} && status = error}} | select(resource.service.name, event.exception.message, "
         "event.exception.stacktrace, event.exception.type) with(most_recent=true)")
    spans = [s for t in grafana.search(q, 400, 10) for s in t["spanSets"][0]["spans"]]
    assert [set(span_attrs(s)) for s in spans] == [{"service.name", "status", "nestedSetParent"}]
    assert grafana.search("{event.exception.type != nil} with(most_recent=true)", 400, 10) == []


@pytest.mark.parametrize("inner,left", [("kind = server", [1, 3, 5]), ("status = error", [1, 2, 3, 4, 5])])
def test_drilldown_structure(grafana, inner, left):
    """The tree of the Structure tab: the nested set of the chain of five, with roots at -1."""
    q = f"({{{ROOTS}}} &>> {{{inner}}}) || ({{{ROOTS}}}) | select({SHOWN})"
    found = {t["traceID"]: t for t in grafana.search(q, 200, 20)}
    assert len(found) == len(SENT)
    for t in found.values():
        wanted = left if inner == "kind = server" or t["rootTraceName"] == "GET /api/report" else [1]
        spans = sorted(t["spanSets"][0]["spans"], key=lambda s: int(span_attrs(s)["nestedSetLeft"]))
        numbers = [[int(span_attrs(s)[k]) for k in ("nestedSetLeft", "nestedSetRight", "nestedSetParent")]
                   for s in spans]
        assert numbers == [[n, 11 - n, n - 1 or -1] for n in wanted]
        assert [span_attrs(s)["service.name"] for s in spans] == [CHAIN[n - 1][0] for n in wanted]
        assert all(s["name"] for s in spans)


# --- metrics: the last step ---

def metrics(grafana, q, path="/api/metrics/query_range", **params):
    status, body = grafana.ask(path, q=q, **params)
    assert status == 200, body
    return json.loads(body).get("series", [])


def totals(series, scale=1):
    """{label text: sum of all points}"""
    return {", ".join(str(next(iter(x["value"].values()))) for x in s["labels"]):
            round(sum(p.get("value", 0) for p in s["samples"]) * scale, 6) for s in series}


def test_drilldown_smoke(grafana):
    """{} | rate(): per second, so times the step it is what was captured."""
    assert sum(totals(metrics(grafana, "{} | rate()", step="10s"), 10).values()) == len(SENT) * len(CHAIN)


def test_drilldown_rate(grafana):
    by = totals(metrics(grafana, f"{{{ROOTS}}} | rate() by(resource.service.name)", step="10s"), 10)
    assert by == {"nginx": len(SENT)}
    by = totals(metrics(grafana, "{true && resource.service.name != nil} | rate() by(resource.service.name)",
                        step="10s"), 10)
    assert by == {"nginx": 6, "api": 6, "postgres": 3}


def test_drilldown_errors(grafana):
    assert sum(totals(metrics(grafana, f"{{{ROOTS} && status=error}} | rate()", step="10s"), 10).values()) == 1


def test_drilldown_durations(grafana):
    series = metrics(grafana, f"{{{ROOTS}}} | quantile_over_time(duration, 0.9) by(name)", step="10s")
    assert len(series) == 2 and all(0 <= p.get("value", 0) < 30 for s in series for p in s["samples"])
    series = metrics(grafana, f"{{{ROOTS}}} | histogram_over_time(duration) with(sample=true)", step="10s")
    assert sum(totals(series).values()) == len(SENT)


def test_drilldown_compare(grafana):
    start, end = grafana.since - 60, int(time.time()) + 60
    series = metrics(grafana, f"{{{ROOTS}}} | compare({{status = error}})", step=f"{end - start}s")
    names = {x["value"].get("stringValue") for s in series for x in s["labels"] if x["key"] == "__meta_type"}
    assert {"baseline", "selection", "baseline_total", "selection_total"} <= names


def test_instant(grafana):
    series = metrics(grafana, "{kind = server} | count_over_time()", "/api/metrics/query")
    assert [s["value"] for s in series] == [len(SENT) * 3]
