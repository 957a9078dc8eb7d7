# SPDX-License-Identifier: Apache-2.0
"""OTLP written by hand: a span as a Python dict (proto3 JSON's names, ids in hex) into protobuf and JSON.

Shares no code with Wirespan; the field numbers are those of opentelemetry/proto/trace/v1.
"""

import base64
import json
import struct


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n > 0x7F:
        out.append(0x80 | n & 0x7F)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, value):
    """Bytes and text as themselves, a float as fixed64, an int as varint."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, (bytes, str)):
        raw = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(raw)) + raw
    return varint(number << 3) + varint(int(value))


def fixed64(number, n):
    return varint(number << 3 | 1) + struct.pack("<Q", int(n))


def fixed32(number, n):
    return varint(number << 3 | 5) + struct.pack("<I", n)


def any_value(v):
    kind, x = next(iter(v.items()), (None, None))
    if kind is None:
        return b""
    if kind == "arrayValue":
        return field(5, b"".join(field(1, any_value(e)) for e in x.get("values", [])))
    if kind == "kvlistValue":
        return field(6, attributes(1, x.get("values", [])))
    if kind == "bytesValue":
        return field(7, base64.b64decode(x))
    if kind == "intValue":
        return field(3, int(x))
    if kind == "doubleValue":
        return field(4, float(x))
    return field(2, int(x)) if kind == "boolValue" else field(1, x)


def attributes(number, pairs):
    return b"".join(field(number, field(1, a["key"]) + field(2, any_value(a["value"]))) for a in pairs)


def event(e):
    return (fixed64(1, e["timeUnixNano"]) + field(2, e["name"]) + attributes(3, e.get("attributes", [])) +
            field(4, e.get("droppedAttributesCount", 0)))


def link(x):
    return (field(1, bytes.fromhex(x["traceId"])) + field(2, bytes.fromhex(x["spanId"])) +
            field(3, x.get("traceState", "")) + attributes(4, x.get("attributes", [])) +
            field(5, x.get("droppedAttributesCount", 0)) + fixed32(6, x.get("flags", 0)))


def span(s):
    status = s.get("status", {})
    return (field(1, bytes.fromhex(s["traceId"])) + field(2, bytes.fromhex(s["spanId"])) +
            field(3, s.get("traceState", "")) + field(4, bytes.fromhex(s.get("parentSpanId", ""))) +
            field(5, s.get("name", "")) + field(6, s.get("kind", 0)) +
            fixed64(7, s["startTimeUnixNano"]) + fixed64(8, s["endTimeUnixNano"]) +
            attributes(9, s.get("attributes", [])) + field(10, s.get("droppedAttributesCount", 0)) +
            b"".join(field(11, event(e)) for e in s.get("events", [])) +
            field(12, s.get("droppedEventsCount", 0)) +
            b"".join(field(13, link(x)) for x in s.get("links", [])) +
            field(14, s.get("droppedLinksCount", 0)) +
            field(15, field(2, status.get("message", "")) + field(3, status.get("code", 0))) +
            fixed32(16, s.get("flags", 0)))


def protobuf(request):
    """{resourceSpans: [...]} as the bytes of an ExportTraceServiceRequest."""
    out = b""
    for rs in request["resourceSpans"]:
        scopes = b""
        for ss in rs["scopeSpans"]:
            sc = ss.get("scope", {})
            scopes += field(2, field(1, field(1, sc.get("name", "")) + field(2, sc.get("version", "")) +
                                     attributes(3, sc.get("attributes", [])) +
                                     field(4, sc.get("droppedAttributesCount", 0))) +
                            b"".join(field(2, span(s)) for s in ss["spans"]) +
                            field(3, ss.get("schemaUrl", "")))
        res = rs.get("resource", {})
        out += field(1, field(1, attributes(1, res.get("attributes", [])) +
                              field(2, res.get("droppedAttributesCount", 0))) +
                     scopes + field(3, rs.get("schemaUrl", "")))
    return out


def as_json(request):
    return json.dumps(request).encode()


def request(spans, resource=(), scope=None):
    """All spans under one resource (attributes) and one scope."""
    return {"resourceSpans": [{"resource": {"attributes": list(resource)},
                               "scopeSpans": [{"scope": scope or {}, "spans": spans}]}]}


def text(key, value):
    return {"key": key, "value": {"stringValue": value}}


def number(key, value):
    return {"key": key, "value": {"intValue": str(value)}}
