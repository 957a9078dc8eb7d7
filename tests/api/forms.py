# SPDX-License-Identifier: Apache-2.0
"""The forms of the API that no recorded case can show: exact bytes, headers, refusals, own endpoints.

Every function form_* is one test against a running server with the data set in it. What is expected
comes from the contract of Tempo's API (field numbers, texts), never from what Wirespan answered.
"""

import base64
import gzip
import http.client
import json
import re
import time
import urllib.parse

import replay
import wait

MISSING = "ffffffffffffffffffffffffffffffff"

# One span {trace id 01.., span id 02..} without resource, scope and status, as an exporter may send it.
BARE_ID = "01" * 16
BARE = bytes.fromhex("0a20" "121e" "121c" "0a10" + BARE_ID + "1208" + "02" * 8)
# The same in an answer: resource (0a00), scope (0a00) and status (7a00) are there.
BARE_ANSWER = bytes.fromhex("0a28" "0a26" "0a00" "1222" "0a00" "121e" "0a10" + BARE_ID + "1208" +
                            "02" * 8 + "7a00" "1200")

# Search JSON is parsed strictly by Tempo's own clients: any other key fails the whole query.
SEARCH_KEYS = {
    "": {"traces", "metrics"},
    "metrics": {"inspectedTraces", "inspectedBytes", "totalBlocks", "completedJobs", "totalJobs",
                "totalBlockBytes"},
    "traces": {"traceID", "rootServiceName", "rootTraceName", "startTimeUnixNano", "durationMs",
               "spanSet", "spanSets", "serviceStats"},
    "spanSet": {"spans", "matched", "attributes"},
    "spanSets": {"spans", "matched", "attributes"},
    "spans": {"spanID", "name", "startTimeUnixNano", "durationNanos", "attributes"},
    "attributes": {"key", "value"},
}


class Api:
    seconds = 30  # that it waits for an answer

    def __init__(self, port):
        self.port = port

    def ask(self, target, method="GET", body=None, **headers):
        """(status, headers in lower case, body)"""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.seconds)
        try:
            conn.request(method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = conn.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            conn.close()

    def push(self, body, content_type, **headers):
        return self.ask("/v1/traces", "POST", body, Content_Type=content_type, **headers)


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def form_v2_not_found_protobuf(api):
    status, headers, body = api.ask("/api/v2/traces/" + MISSING, Accept="application/protobuf")
    equal((status, headers["content-type"], body.hex()), (200, "application/protobuf", "0a001200"))


def form_v2_not_found_json(api):
    status, headers, body = api.ask("/api/v2/traces/" + MISSING)
    equal((status, headers["content-type"], body), (200, "application/json", b'{"trace":{},"metrics":{}}'))


def form_v1_not_found(api):
    for accept in ("", "application/protobuf"):
        status, headers, body = api.ask("/api/traces/" + MISSING, Accept=accept)
        equal((status, headers.get("content-type"), body), (404, None, b""))


def form_empty_messages_are_there(api):
    status, headers, body = api.push(BARE, "application/x-protobuf")
    equal((status, headers["content-type"], body.hex()), (200, "application/x-protobuf", "0a00"))
    target = "/api/v2/traces/" + BARE_ID

    def there():
        return len(api.ask(target, Accept="application/protobuf")[2]) > 4

    wait.until("the span just pushed", there)
    equal(api.ask(target, Accept="application/protobuf")[2].hex(), BARE_ANSWER.hex())
    trace = json.loads(api.ask(target)[2])["trace"]["resourceSpans"]
    equal(trace, [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [
        {"traceId": "AQEBAQEBAQEBAQEBAQEBAQ==", "spanId": "AgICAgICAgI=", "status": {}}]}]}])


# The data set's first trace: each span below the one before, but "in queue" beside "processing".
CHAIN = "8da608a2c202e8b2e650f5699aeabb5e"
CHAIN_SPANS = {"nginx": "f75585c747bf6190", "get": "d4327147e7c67a9f", "api": "27ddd8c07587b06b",
               "queue": "3b2b04b0322351f3", "processing": "093cc926b420a1a6", "client": "22309de25bfbeada",
               "postgres": "9736d21680ea3d4d"}
FILTERED = "Trace filtered, only a subset of spans matching the filter is returned"


def form_trace_filter(api):
    names = {base64.b64encode(bytes.fromhex(v)).decode(): k for k, v in CHAIN_SPANS.items()}
    for params, want in [
            ({"q": '{ name = "in queue" }'}, "queue"),
            ({"q": "{ name = `processing` }", "keep_hierarchy": "true"}, "processing api get nginx"),
            ({"q": "{ name = `processing` }", "keep_hierarchy": "false"}, "processing"),
            ({"q": "{ name = `processing` }", "ancestor_depth": "1"}, "processing api"),
            ({"q": "{ name = `processing` }", "match_depth": "1"}, "processing client"),
            ({"q": "{ name = `processing` }", "match_depth": "9", "keep_hierarchy": "1", "ancestor_depth": "2"},
             "processing client postgres api get"),
            ({"q": "{ kind = internal || nestedSetParent < 0 }"}, "queue processing nginx"),
            ({"q": "{ }"}, " ".join(CHAIN_SPANS)),
            ({"q": "{ false }"}, "")]:
        target = f"/api/v2/traces/{CHAIN}?" + urllib.parse.urlencode(params)
        answer = json.loads(api.ask(target)[2])
        spans = [s for rs in answer["trace"].get("resourceSpans", []) for ss in rs["scopeSpans"]
                 for s in ss["spans"]]
        equal((params, sorted(names[s["spanId"]] for s in spans)), (params, sorted(want.split())))
        equal((answer["status"], answer["message"]), ("PARTIAL", FILTERED))
        proto = replay.pb("TraceByIDResponse", api.ask(target, Accept="application/protobuf")[2])
        equal((proto["status"], proto["message"]), ("PARTIAL", FILTERED))


def form_trace_filter_refusals(api):
    bad = [{"q": q} for q in ("{", "{} | {}", "{} && {}", "{} | count() > 1", "{} | rate()", "{ name = 1 }")]
    bad += [{"q": "{}", "keep_hierarchy": "maybe"}, {"q": "{}", "ancestor_depth": "-1"},
            {"q": "{}", "match_depth": "x"}]
    for params in bad:
        for trace in (CHAIN, MISSING):
            answer = api.ask(f"/api/v2/traces/{trace}?" + urllib.parse.urlencode(params))
            equal((params, answer[0]), (params, 400))
    # Nothing to filter: not found, as without; v1 has no filter; an empty one is none.
    equal(api.ask(f"/api/v2/traces/{MISSING}?q=%7B%7D")[::2], (200, b'{"trace":{},"metrics":{}}'))
    equal(api.ask(f"/api/traces/{CHAIN}?q=%7B"), api.ask(f"/api/traces/{CHAIN}"))
    equal(api.ask(f"/api/v2/traces/{CHAIN}?q="), api.ask(f"/api/v2/traces/{CHAIN}"))


def check_keys(where, value):
    if isinstance(value, list):
        for v in value:
            check_keys(where, v)
    elif isinstance(value, dict) and where in SEARCH_KEYS:
        if not set(value) <= SEARCH_KEYS[where]:
            raise AssertionError(f"{where}: keys {sorted(set(value) - SEARCH_KEYS[where])}")
        for k, v in value.items():
            check_keys(k, v)


def form_search_keys(api):
    now = int(time.time())
    status, headers, body = api.ask(f"/api/search?q=%7Bstatus%3Derror%7D&start={now - 1200}&end={now}")
    equal((status, headers["content-type"]), (200, "application/json"))
    answer = json.loads(body)
    equal(len(answer["traces"]), 20)
    check_keys("", answer)


def form_division_by_zero(api):
    """500 where a trace of the range divides, not because one nearby would."""
    far, now = int(time.time()) + 590, int(time.time())
    for q in ("{ duration / 0 > 1 }", "{ duration % (1 - 1) = 0 }"):
        target = "/api/search?" + urllib.parse.urlencode({"q": q, "start": now - 3600, "end": now + 60})
        equal((q, api.ask(target)[0]), (q, 500))
        target = "/api/search?" + urllib.parse.urlencode({"q": q, "start": far, "end": far + 5})
        equal((q, json.loads(api.ask(target)[2])["traces"]), (q, []))


def form_empty_lists_are_there(api):
    far = "start=1000000000&end=1000000100"
    equal(json.loads(api.ask("/api/search?q=%7B%7D&" + far)[2])["traces"], [])
    equal(json.loads(api.ask("/api/v2/search/tags?scope=span&" + far)[2])["scopes"], [])
    equal(json.loads(api.ask("/api/v2/search/tag/span.x/values?" + far)[2])["tagValues"], [])


def form_gzip(api):
    plain = api.ask("/api/traces/8da608a2c202e8b2e650f5699aeabb5e")
    packed = api.ask("/api/traces/8da608a2c202e8b2e650f5699aeabb5e", Accept_Encoding="deflate, gzip")
    equal((plain[1].get("content-encoding"), packed[1].get("content-encoding")), (None, "gzip"))
    equal((plain[1].get("vary"), packed[1].get("vary")), ("Accept-Encoding",) * 2)
    equal(gzip.decompress(packed[2]), plain[2])


def form_any_method(api):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        equal(api.ask("/api/echo", method, b"ignored")[::2], (200, b"echo"))
    equal(api.ask("/api/echo", "HEAD")[::2], (200, b""))
    equal(api.ask("/api/search?limit=1", "POST")[0], 200)


def form_unknown_path(api):
    for target in ("/", "/api", "/api/echo/", "/api/traces/"):
        status, headers, body = api.ask(target)
        equal((status, headers["content-type"], body),
              (404, "text/plain; charset=utf-8", b"404 page not found\n"))


def form_health(api):
    equal(api.ask("/ready")[::2], (200, b"ready\n"))
    status, headers, body = api.ask("/api/status/buildinfo")
    equal((status, headers["content-type"]), (200, "application/json"))
    equal(set(json.loads(body)), {"version", "revision", "branch", "buildUser", "buildDate", "goVersion"})


def form_foreign_host(api):
    for host in ("evil.example.org", "localhost.evil.example.org", "203.0.113.1", ""):
        equal(api.ask("/api/echo", Host=host)[0], 403)
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:3200"):
        equal(api.ask("/api/echo", Host=host)[0], 200)


def form_metrics(api):
    status, headers, body = api.ask("/metrics")
    equal((status, headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
    declared = set()
    for line in body.decode().splitlines():
        head = re.fullmatch(r"# (HELP|TYPE) (wirespan_\w+) .+", line)
        row = re.fullmatch(r'(wirespan_\w+)(\{(\w+="[^"]*",?)+\})? \d+', line)
        if head:
            if (head[1], head[2]) in declared:
                raise AssertionError(f"twice: {line}")
            declared.add((head[1], head[2]))
        elif not row or ("TYPE", row[1]) not in declared or ("HELP", row[1]) not in declared:
            raise AssertionError(f"no such form: {line}")


def form_status(api):
    status, headers, body = api.ask("/status")
    equal((status, headers["content-type"]), (200, "application/json"))
    answer = json.loads(body)
    equal(set(answer), {"version", "notes", "counters", "store"})
    if answer["store"]["spans"] < 1941:
        raise AssertionError(f"{answer['store']}: the data set has 1941 spans")


def form_metrics_refusals(api):
    now = int(time.time())
    for params, want in (
            ("q=%7B%7D%7Crate()&step=0", b"step of 0s is too small, minimum step for given range is 360ms"),
            ("q=%7B%7D%7Crate()&step=1ns", b"step of 1ns is too small, minimum step for given range is 360ms"),
            ("q=%7B%7D%7Crate()&step=-1", b'rpc error: code = Code(400) desc = cannot parse "-1" to a valid '
                                          b"duration"),
            ("q=%7B%7D%7Crate()&step=1e300", b'rpc error: code = Code(400) desc = cannot parse "1e300" to a '
                                             b"valid duration"),
            ("q=%7B%7D%7Crate()&step=9223372035s", b"step of 2562047h47m15s is too large for this range"),
            (f"q=%7B%7D%7Crate()&start={now}&end={now}", b"end must be greater than start"),
            (f"q=%7B%7D%7Crate()&start={now}000000000&end={now}000000000", b"end must be greater than start"),
            ("q=%7B%7D%7Crate()&since=25h", b"metrics query time range exceeds the maximum allowed duration of "
                                            b"24h0m0s"),
            ("q=%7B%7D%7Crate()&start=0&end=9223372036854775807", b"metrics query time range exceeds the maximum "
                                                                 b"allowed duration of 24h0m0s"),
            ("q=%7B%7D", b"not a metrics query"),
            ("query=%7B%7D", b"not a metrics query")):
        status, headers, body = api.ask("/api/metrics/query_range?" + params)
        equal((status, headers["content-type"]), (400, "text/plain; charset=utf-8"))
        equal(body, want)


def form_metrics_partial(api):
    now = int(time.time())
    target = f"/api/metrics/query_range?q=%7B%7D%7Crate()by(span:id)&start={now - 1200}&end={now}&step=60"
    status, headers, body = api.ask(target, Accept="application/protobuf")
    answer = json.loads(body)
    equal((status, headers["content-type"], len(answer["series"])), (200, "application/json", 1000))
    equal((answer["status"], "1000" in answer["message"]), ("PARTIAL", True))
    equal(set(answer["series"][0]), {"labels", "samples", "exemplars"})


def form_ingest_refusals(api):
    equal(api.ask("/v1/traces")[::2], (405, b"405 method not allowed, supported: [POST]"))
    equal(api.push(b"x", "text/plain")[::2], (415, b"415 unsupported media type, supported: "
                                                   b"[application/json, application/x-protobuf]"))
    status, headers, body = api.push(b"{", "application/json; charset=utf-8")
    equal((status, headers["content-type"], json.loads(body)["code"]), (400, "application/json", 3))
    status, headers, body = api.push(b"\x0a\x05", "application/x-protobuf")
    equal((status, headers["content-type"], body[:2]), (400, "application/x-protobuf", b"\x08\x03"))
    equal(api.push(b"no gzip", "application/json", Content_Encoding="gzip")[0], 400)
    equal(api.push(gzip.compress(bytes(17 << 20)), "application/json", Content_Encoding="gzip")[0], 413)


def form_ingest_gzip(api):
    equal(api.push(gzip.compress(b'{"resourceSpans":[]}'), "application/json", Content_Encoding="gzip")[::2],
          (200, b'{"partialSuccess":{}}'))


def form_ingest_partial(api):
    body = json.loads(api.push(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{},{}]}]}]}',
                               "application/json")[2])
    equal(body["partialSuccess"]["rejectedSpans"], "2")


def run(port):
    """(passed, failed); says what failed."""
    api, passed, failed = Api(port), 0, 0
    for name, form in sorted(globals().items()):
        if not name.startswith("form_"):
            continue
        try:
            form(api)
            passed += 1
        except (AssertionError, LookupError, OSError, ValueError, wait.TimedOut) as e:
            failed += 1
            print(f"FAIL {name} :: {type(e).__name__}: {e}")
    return passed, failed
