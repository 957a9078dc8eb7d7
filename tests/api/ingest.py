# SPDX-License-Identifier: Apache-2.0
"""OTLP/HTTP in: what an exporter may send, both ports, both answers, limits, refusals.

Every function ingest_* is one test against a server of its own (capture off, otlp.listen on,
otlp.answer committed). What is pushed is written by otlp.py and read back by replay.py's reader of
protobuf, neither of which knows Wirespan's code.
"""

import base64
import gzip
import http.client
import json
import os
import time

import otlp
import replay
from collector import Collector, free_port
from forms import Api, equal

PROTOBUF, JSON = "application/x-protobuf", "application/json"
NOW = int(time.time()) * 10**9


def span(n, trace=1, **more):
    return {"traceId": f"{trace:032x}", "spanId": f"{n:016x}", "name": f"span {n}",
            "startTimeUnixNano": str(NOW), "endTimeUnixNano": str(NOW + 1000), **more}


VALUES = [
    {"key": "s", "value": {"stringValue": "grüße <&> \" \\ \n"}},
    {"key": "empty", "value": {"stringValue": ""}},
    {"key": "b", "value": {"boolValue": True}},
    {"key": "no", "value": {"boolValue": False}},
    {"key": "i", "value": {"intValue": str(-2**63)}},
    {"key": "max", "value": {"intValue": str(2**63 - 1)}},
    {"key": "d", "value": {"doubleValue": -0.1}},
    {"key": "bytes", "value": {"bytesValue": base64.b64encode(bytes(range(256))).decode()}},
    {"key": "array", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
    {"key": "mixed", "value": {"arrayValue": {"values": [
        {"intValue": "1"}, {"stringValue": "x"}, {"arrayValue": {"values": [{"boolValue": True}]}}]}}},
    {"key": "none", "value": {"arrayValue": {}}},
    {"key": "map", "value": {"kvlistValue": {"values": [
        {"key": "in", "value": {"kvlistValue": {"values": [{"key": "deep", "value": {"doubleValue": 1.5}}]}}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "7"}]}}}]}}},
]

WHOLE = {"resourceSpans": [{
    "resource": {"attributes": [otlp.text("service.name", "whole"), *VALUES], "droppedAttributesCount": 2},
    "schemaUrl": "https://example.org/resource",
    "scopeSpans": [{
        "scope": {"name": "lib", "version": "1.2", "attributes": VALUES, "droppedAttributesCount": 3},
        "schemaUrl": "https://example.org/scope",
        "spans": [span(
            0xa1, 0xabc, parentSpanId="00000000000000b2", kind=3, traceState="a=1,b=2",
            attributes=VALUES, droppedAttributesCount=4, droppedEventsCount=5, droppedLinksCount=6,
            status={"code": 2, "message": "broke"},
            events=[{"timeUnixNano": str(NOW + 5), "name": "e", "attributes": VALUES,
                     "droppedAttributesCount": 7}, {"timeUnixNano": str(NOW + 6), "name": "second"}],
            links=[{"traceId": "0d" * 16, "spanId": "0e" * 8, "traceState": "l=1", "attributes": VALUES,
                    "droppedAttributesCount": 8}])]}]}]}

KINDS = ["SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT",
         "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"]
CODES = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"]


def b64(hex_id):
    return base64.b64encode(bytes.fromhex(hex_id)).decode()


def as_answered(request):
    """What the answer must hold: ids base64, enums by name, attributes as they came."""
    out = json.loads(json.dumps(request))
    for rs in out["resourceSpans"]:
        for ss in rs["scopeSpans"]:
            for s in ss["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    s[key] = b64(s[key])
                s["kind"] = KINDS[s["kind"]]
                s["status"]["code"] = CODES[s["status"]["code"]]
                for x in s["links"]:
                    x["traceId"], x["spanId"] = b64(x["traceId"]), b64(x["spanId"])
    return out


def plain(value):
    """An answer without what proto3 leaves out, maps and lists of attributes sorted."""
    if isinstance(value, dict):
        out = {k: plain(v) for k, v in value.items()}
        is_any = set(value) & {"stringValue", "boolValue", "arrayValue", "kvlistValue"} and len(value) == 1
        return out if is_any else {k: v for k, v in out.items() if v not in (0, "", [], {}, "0")}
    if isinstance(value, list):
        out = [plain(v) for v in value]
        named = all(isinstance(v, dict) and "key" in v for v in out)
        return sorted(out, key=lambda v: v["key"]) if named else out
    return value


class Here(Api):
    """Both ports of one server."""

    def __init__(self, collector, otlp_port):
        super().__init__(collector.port)
        self.collector, self.otlp = collector, Api(otlp_port)

    def trace(self, trace_id):
        return json.loads(self.ask(f"/api/v2/traces/{trace_id}")[2])["trace"]

    def counter(self, name):
        rows = (x.rsplit(" ", 1) for x in self.ask("/metrics")[2].decode().splitlines() if x[0] != "#")
        return {k: int(v) for k, v in rows}.get("wirespan_" + name, 0)


def whole(api, trace, push):
    """Pushes WHOLE under this trace id; committed is answered, so it is there at once."""
    request = json.loads(json.dumps(WHOLE))
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = trace
    push(request)
    want = plain(as_answered(request))
    equal(plain(api.trace(trace)), want)
    proto = api.ask(f"/api/v2/traces/{trace}", Accept="application/protobuf")[2]
    equal(plain(replay.pb("TraceByIDResponse", proto)["trace"]), want)


def ingest_whole_protobuf(api):
    def push(request):
        status, headers, body = api.push(otlp.protobuf(request), PROTOBUF)
        equal((status, headers["content-type"], body), (200, PROTOBUF, b"\x0a\x00"))

    whole(api, "a0" * 16, push)


def ingest_whole_protobuf_gzip(api):
    def push(request):
        equal(api.push(gzip.compress(otlp.protobuf(request)), PROTOBUF, Content_Encoding="gzip")[::2],
              (200, b"\x0a\x00"))

    whole(api, "a1" * 16, push)


def ingest_whole_json(api):
    def push(request):
        status, headers, body = api.push(otlp.as_json(request), JSON)
        equal((status, headers["content-type"], body), (200, JSON, b'{"partialSuccess":{}}'))

    whole(api, "a2" * 16, push)


def ingest_whole_json_other_spelling(api):
    """Enums by name, 64-bit integers as numbers, gzip, a parameter behind the type."""
    def push(request):
        request = json.loads(json.dumps(request))
        s = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        s["kind"], s["status"]["code"] = KINDS[s["kind"]], CODES[s["status"]["code"]]
        s["startTimeUnixNano"], s["unknownKey"] = int(s["startTimeUnixNano"]), {"x": [1]}
        text = json.dumps(request).replace('"9223372036854775807"', "9223372036854775807")
        equal(api.push(gzip.compress(text.encode()), "application/json; charset=utf-8",
                       Content_Encoding="gzip")[::2], (200, b'{"partialSuccess":{}}'))

    whole(api, "a3" * 16, push)


def ingest_second_port(api):
    def push(request):
        equal(api.otlp.push(otlp.protobuf(request), PROTOBUF)[::2], (200, b"\x0a\x00"))

    whole(api, "a4" * 16, push)
    for target in ("/", "/ready", "/api/echo", "/api/search?q={}", "/status", "/v1/traces/", "/v1/metrics"):
        equal(api.otlp.ask(target)[::2], (404, b"404 page not found\n"))
    equal(api.otlp.ask("/v1/traces")[::2], (405, b"405 method not allowed, supported: [POST]"))
    equal(api.otlp.ask("/v1/traces", "POST", b"", Host="evil.example.org")[0], 403)


def ingest_pushes_of_one_trace_merge(api):
    trace = 0x77
    api.push(otlp.protobuf(otlp.request([span(1, trace)], [otlp.text("service.name", "ebpf")])), PROTOBUF)
    api.otlp.push(otlp.as_json(otlp.request([span(2, trace, parentSpanId=f"{1:016x}")],
                                            [otlp.text("service.name", "sdk")])), JSON)
    # What an exporter repeats because it did not see the answer is there once.
    api.otlp.push(otlp.as_json(otlp.request([span(2, trace, parentSpanId=f"{1:016x}")],
                                            [otlp.text("service.name", "sdk")])), JSON)
    got = api.trace(f"{trace:x}")["resourceSpans"]
    equal(sorted(s["name"] for rs in got for ss in rs["scopeSpans"] for s in ss["spans"]),
          ["span 1", "span 2"])
    q = '/api/search?q={resource.service.name="ebpf"}>{resource.service.name="sdk"}'
    equal(len(json.loads(api.ask(q)[2])["traces"]), 1)


def ingest_tags_look_in_both_scopes(api):
    """Legacy tags: the span's attribute does not hide the resource's of the same name; events have none."""
    api.push(otlp.protobuf(otlp.request([span(1, 0x66, attributes=[otlp.text("both", "inner")], events=[
        {"timeUnixNano": "1", "name": "e", "attributes": [otlp.text("both", "event")]}])],
        [otlp.text("both", "outer")])), PROTOBUF)
    for value, cnt in (("inner", 1), ("outer", 1), ("ute", 1), ("event", 0)):
        got = json.loads(api.ask(f"/api/search?tags=both%3D{value}")[2])["traces"]
        equal((value, [t["traceID"] for t in got]), (value, ["66"] * cnt))


def ingest_empty(api):
    equal(api.push(b"", PROTOBUF)[::2], (200, b"\x0a\x00"))
    equal(api.push(b"{}", JSON)[::2], (200, b'{"partialSuccess":{}}'))
    equal(api.push(b"", JSON)[0], 400)


def ingest_answers_when_committed(api):
    """kill -9 after the answer: the span is there when the store is opened again."""
    folder = os.path.join(api.collector.folder, "killed")
    with Collector(folder, "--capture", "off", "--otlp-answer", "committed") as c:
        equal(Api(c.port).push(otlp.protobuf(otlp.request([span(1, 5)])), PROTOBUF)[0], 200)
        c.kill()
    with Collector(folder, "--capture", "off") as c:
        body = json.loads(Api(c.port).ask("/api/v2/traces/5")[2])
        equal(len(body["trace"]["resourceSpans"]), 1)


def many(cnt):
    return [otlp.number(f"k{i}", i) for i in range(cnt)]


def ingest_rejected_are_counted(api):
    """Of seven spans five are left out, each for its own reason; the rest is taken."""
    no_id = dict(span(3, 0x99), spanId="")
    zero_trace = dict(span(4, 0x99), traceId="0" * 32)
    spans = [span(1, 0x99), no_id, zero_trace, span(5, 0x99, attributes=many(1025)),
             span(6, 0x99, events=[{"timeUnixNano": "1", "name": "e", "attributes": many(1025)}]),
             span(7, 0x99, links=[{"traceId": "01" * 16, "spanId": "02" * 8, "attributes": many(1025)}]),
             span(2, 0x99, attributes=many(1024))]
    labels = ('ingest_rejected_total{reason="no_id"}', 'ingest_rejected_total{reason="attributes"}',
              "ingest_spans_total")
    before = [api.counter(x) for x in labels]
    said = json.loads(api.push(otlp.as_json(otlp.request(spans)), JSON)[2])["partialSuccess"]
    equal(said["rejectedSpans"], "5")
    for word in ("2 spans without a trace id or a span id", "3 spans with more than 1024 attributes"):
        if word not in said["errorMessage"]:
            raise AssertionError(said)
    equal([api.counter(x) - b for x, b in zip(labels, before)], [2, 3, 2])
    got = [s["name"] for rs in api.trace("99")["resourceSpans"] for ss in rs["scopeSpans"] for s in ss["spans"]]
    equal(sorted(got), ["span 1", "span 2"])
    body = api.push(otlp.protobuf(otlp.request(spans)), PROTOBUF)[2]
    partial = dict((f, v) for f, _, v in replay.fields(next(v for _, _, v in replay.fields(body))))
    equal((partial[1], partial[2].decode()), (5, said["errorMessage"]))


def ingest_large_resource_rejects_its_spans(api):
    request = otlp.request([span(1, 0x98)], many(1025))
    request["resourceSpans"] += otlp.request([span(2, 0x98)])["resourceSpans"]
    said = json.loads(api.push(otlp.as_json(request), JSON)[2])["partialSuccess"]
    equal(said["rejectedSpans"], "1")
    equal(len(api.trace("98")["resourceSpans"]), 1)


def ingest_too_many_spans(api):
    one = otlp.field(2, otlp.field(1, b"\1" * 16) + otlp.field(2, b"\2" * 8))
    before = api.counter("ingest_spans_total")
    status, headers, body = api.push(otlp.field(1, otlp.field(2, one * 100001)), PROTOBUF)
    equal((status, headers["content-type"], body[:2]), (413, PROTOBUF, b"\x08\x08"))
    if b"100001 spans, more than the 100000" not in body:
        raise AssertionError(body)
    equal(api.counter("ingest_spans_total"), before)


def ingest_too_large(api):
    """Told from the header alone, before a body is read; and of what gzip hides."""
    conn = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    conn.putrequest("POST", "/v1/traces")
    conn.putheader("Content-Type", PROTOBUF)
    conn.putheader("Content-Length", str(16 * 2**20 + 1))
    conn.endheaders()
    answer = conn.getresponse()
    equal((answer.status, answer.read()), (413, b"The request body is larger than 16 MiB.\n"))
    conn.close()
    status, headers, body = api.push(gzip.compress(bytes(16 * 2**20 + 1)), PROTOBUF, Content_Encoding="gzip")
    equal((status, body[:2]), (413, b"\x08\x08"))


def ingest_refusals(api):
    """Each names what is wrong, in the language of the request, and stores nothing."""
    deep = {"stringValue": "x"}
    for _ in range(40):
        deep = {"arrayValue": {"values": [deep]}}
    bad = [(b"[]", "not an object"), (b'{"resourceSpans":{}}', '"resourceSpans" has the wrong type'),
           (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}', "32 hex digits"),
           (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}', '"kind"'),
           (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":-1}]}]}]}', "startTimeUnixNano"),
           (otlp.as_json(otlp.request([span(1, attributes=[{"key": "k", "value": deep}])])), "nested")]
    before = api.counter("ingest_spans_total")
    for body, word in bad:
        status, headers, said = api.push(body, JSON)
        said = json.loads(said)
        equal((status, headers["content-type"], said["code"]), (400, JSON, 3))
        if word not in said["message"]:
            raise AssertionError(said)
    for body in (b"\x0a\x05", b"\xff" * 9, otlp.protobuf(otlp.request([span(1)]))[:-1],
                 otlp.field(1, otlp.field(2, otlp.field(2, otlp.field(1, b"\1" * 15))))):
        status, headers, said = api.push(body, PROTOBUF)
        equal((status, headers["content-type"], said[:2]), (400, PROTOBUF, b"\x08\x03"))
    for kind in ("text/plain", "application/protobuf", ""):
        equal(api.push(b"x", kind)[0], 415)
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        equal(api.ask("/v1/traces", method)[0], 405)
    equal(api.push(b"{}", JSON, Content_Encoding="br")[0], 400)
    equal(api.push(gzip.compress(b"{}")[:-4], JSON, Content_Encoding="gzip")[0], 400)
    equal(api.counter("ingest_spans_total"), before)


def run(folder):
    """(passed, failed); says what failed."""
    passed, failed, port = 0, 0, free_port()
    with Collector(folder, "--capture", "off", "--otlp-listen", f"127.0.0.1:{port}",
                   "--otlp-answer", "committed") as collector:
        api = Here(collector, port)
        for name, test in sorted(globals().items()):
            if not name.startswith("ingest_"):
                continue
            try:
                test(api)
                passed += 1
            except (AssertionError, LookupError, OSError, ValueError, TypeError) as e:
                failed += 1
                print(f"FAIL {name} :: {type(e).__name__}: {e}")
    return passed, failed
