# SPDX-License-Identifier: Apache-2.0
"""gRPC on the port of HTTP: what good clients get, and that bad ones harm nobody else.

Every function form_* is one test against a running server with the data set in it, as in forms.py. The
client is grpcio; answers are compared with those of HTTP, whose own tests have other truths.
"""

import concurrent.futures
import gzip
import inspect
import json
import os
import socket
import struct
import time
import urllib.parse

import grpc

import replay
import wait
from forms import Api, equal
from grpc_client import (ACK, DATA, END_HEADERS, END_STREAM, EXPORT, GOAWAY, HEADERS, HEALTH,
                         PING, PREFACE, QUERIER, RST_STREAM, SETTINGS, Client, Raw, call_body,
                         call_headers, frame, message, varint)

STALL_SECONDS = 15  # web/h2.c
PREFACE_SECONDS = 5  # web/front.c
PROTOBUF = "application/protobuf"
OTLP_PORT = []


def span(trace_id, span_id, name="x", start=None):
    start = start or time.time_ns()
    fixed = varint(7 << 3 | 1) + struct.pack("<Q", start) + varint(8 << 3 | 1) + \
        struct.pack("<Q", start + 1000)
    return message(f1=trace_id, f2=span_id, f5=name) + fixed


def request(*spans):
    """ExportTraceServiceRequest{1 resource_spans{2 scope_spans{2 spans}}}"""
    return message(f1=message(f2=message(f2=list(spans))))


def fails(code, fn, *args):
    """The text of the status."""
    try:
        got = fn(*args)
        got = list(got) if inspect.isgenerator(got) else got
    except grpc.RpcError as e:
        equal(e.code(), code)
        return e.details()
    raise AssertionError(f"got {got!r}, want {code}")


def is_stored(api, trace_id):
    return api.ask(f"/api/traces/{trace_id.hex()}")[0] == 200


def still_serves(port):
    with Client(port) as c:
        equal(c.unary(HEALTH, b""), b"\x08\x01")
    equal(Api(port).ask("/api/echo")[2], b"echo")


# --- ingest ---

def form_export(api, port):
    trace_id = os.urandom(16)
    with Client(port) as c:
        equal(c.unary(EXPORT, request(span(trace_id, os.urandom(8)))), b"\x0a\x00")
    wait.until("the span", lambda: is_stored(api, trace_id), 10, 0.05)


def form_export_gzip(api, port):
    trace_id = os.urandom(16)
    body = request(span(trace_id, os.urandom(8), "y" * 5000))
    with Client(port, grpc.Compression.Gzip) as c:
        equal(c.unary(EXPORT, body), b"\x0a\x00")
    wait.until("the span", lambda: is_stored(api, trace_id), 10, 0.05)


def form_export_partial(api, port):
    """Spans without ids are left out and counted: {1 partial_success{1 rejected_spans ..}}"""
    good = os.urandom(16)
    with Client(port) as c:
        got = c.unary(EXPORT, request(span(good, os.urandom(8)), span(b"", os.urandom(8))))
    equal(got[0:1] + got[2:4], b"\x0a\x08\x01")
    wait.until("the span", lambda: is_stored(api, good), 10, 0.05)


def form_export_refusals(_, port):
    with Client(port) as c:
        fails(grpc.StatusCode.INVALID_ARGUMENT, c.unary, EXPORT, b"\x0a")
        equal(c.unary(EXPORT, b""), b"\x0a\x00")
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, c.unary, EXPORT, bytes(17 << 20))
        equal(c.unary(EXPORT, b""), b"\x0a\x00")
    with Client(port, grpc.Compression.Gzip) as c:  # a bomb
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, c.unary, EXPORT, bytes(64 << 20))


def form_methods(_, port):
    with Client(port) as c:
        fails(grpc.StatusCode.UNIMPLEMENTED, c.unary, "/a.B/C", b"")
        fails(grpc.StatusCode.UNIMPLEMENTED, c.unary, QUERIER + "Nope", b"x" * 100000)
        equal(c.unary(HEALTH, b""), b"\x08\x01")


# --- queries ---

def http_protobuf(api, target):
    status, _, body = api.ask(target, Accept=PROTOBUF)
    return body if status == 200 else status


def same(api, c, method, body, target):
    equal(c.query(method, body)[-1], http_protobuf(api, target))


def form_search_as_http(api, port):
    now = int(time.time())
    start, end = now - 7200, now + 60
    with Client(port) as c:
        for q in ("{}", "{ status = error }", '{ resource.service.name =~ ".*" } | select(name)',
                  "{ duration > 1ms } | count() > 1", '{ span.x = "ü & = +" }',
                  "{} >> {}", "{ kind = server } | by(name)"):
            body = message(f8=q, f5=start, f6=end, f4=10, f9=2)
            same(api, c, "Search", body,
                 f"/api/search?q={urllib.parse.quote(q)}&start={start}&end={end}&limit=10&spss=2")
        body = message(f1=message(f1="name", f2='a"b'), f2=1, f5=start, f6=end)
        tags = urllib.parse.quote('name="a\\"b"')
        same(api, c, "Search", body,
             f"/api/search?tags={tags}&minDuration=1ms&start={start}&end={end}")


def form_cheap_is_one_message(_, port):
    """Parts are for those who would have to wait."""
    now = int(time.time())
    rng = dict(f2=(now - 1200) * 10**9, f3=now * 10**9, f4=60 * 10**9)
    with Client(port) as c:
        for method, body in (("Search", message(f8="{}", f5=now - 7200, f6=now + 60, f4=1000)),
                             ("MetricsQueryRange", message(f1="{} | rate() by (name)", **rng))):
            equal(min(len(c.query(method, body)) for _ in range(5)), 1)


def form_search_errors(api, port):
    with Client(port) as c:
        for q in ("{", "{ duration = }", "{} | rate("):
            got = fails(grpc.StatusCode.INVALID_ARGUMENT, c.query, "Search", message(f8=q))
            want = api.ask(f"/api/search?q={urllib.parse.quote(q)}")[2].decode()
            equal(got, want)
        fails(grpc.StatusCode.INVALID_ARGUMENT, c.query, "Search", b"\x0a\xff")
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, c.query, "Search", message(f8="x" * 70000))
        fails(grpc.StatusCode.INVALID_ARGUMENT, c.query, "SearchTagValues", b"")


def form_tags_as_http(api, port):
    now = int(time.time())
    rng = f"start={now - 7200}&end={now + 60}"
    with Client(port) as c:
        tags = dict(f3=now - 7200, f4=now + 60)
        for scope in ("", "span", "resource", "intrinsic"):
            same(api, c, "SearchTags", message(f1=scope, **tags),
                 f"/api/search/tags?scope={scope}&{rng}")
            same(api, c, "SearchTagsV2", message(f1=scope, f5=3, **tags),
                 f"/api/v2/search/tags?scope={scope}&limit=3&{rng}")
        fails(grpc.StatusCode.INVALID_ARGUMENT, c.query, "SearchTags", message(f1="nope"))


def form_values_as_http(api, port):
    now = int(time.time())
    rng = f"start={now - 7200}&end={now + 60}"
    times = dict(f4=now - 7200, f5=now + 60)
    with Client(port) as c:
        for tag in ("resource.service.name", "name", "status", ".http.route", 'span."a/b %"'):
            same(api, c, "SearchTagValuesV2", message(f1=tag, **times),
                 f"/api/v2/search/tag/{urllib.parse.quote(tag, safe='')}/values?{rng}")
        for tag in ("service.name", "name"):
            same(api, c, "SearchTagValues", message(f1=tag, f2="{ status = error }", **times),
                 f"/api/search/tag/{tag}/values?q={urllib.parse.quote('{ status = error }')}&{rng}")


def form_metrics(api, port):
    """What HTTP says in JSON, in protobuf: read by the field numbers of replay.py."""
    now = int(time.time())
    with Client(port) as c:
        for q in ("{} | rate()", "{} | quantile_over_time(duration, .5, .9) by (resource.service.name)",
                  "{} | avg_over_time(duration) by (kind, status)", "{} | compare({ status = error })"):
            times = f"q={urllib.parse.quote(q)}&start={now - 1200}&end={now}"
            body = message(f1=q, f2=(now - 1200) * 10**9, f3=now * 10**9, f4=60 * 10**9)
            same_series(api, f"/api/metrics/query_range?{times}&step=60s",
                        c.query("MetricsQueryRange", body)[-1], "QueryRangeResponse")
            body = message(f1=q, f2=(now - 1200) * 10**9, f3=now * 10**9)
            same_series(api, f"/api/metrics/query?{times}", c.query("MetricsQueryInstant", body)[-1],
                        "QueryInstantResponse")


def same_series(api, target, got, name):
    status, _, want = api.ask(target)
    equal(status, 200)
    want = replay.n_range(json.loads(want), 0, {"exemplars": 1})
    if not want["series"]:
        raise AssertionError(f"{target}: nothing to compare")
    for s in want["series"]:  # in protobuf a value of 0 is not there
        s.pop("exemplar_keys", None)
    got = replay.n_range(replay.pb(name, got), 0, {"exemplars": 1})
    for s in got["series"]:
        s.pop("exemplar_keys", None)
    equal(replay.eq(want, got), None)


def form_packed_answer(api, port):
    """An answer that is worth it comes packed, and says the same."""
    now = int(time.time())
    body = message(f8="{}", f5=now - 7200, f6=now + 60, f4=1000)
    raw = Raw(port).hello()
    headers = call_headers(QUERIER + "Search")
    name, value = b"grpc-accept-encoding", b"gzip"
    more = b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    payload = headers[9:] + more
    raw.s.sendall(frame(HEADERS, END_HEADERS, 1, payload) + call_body(body))
    data = b""
    while True:
        got = raw.read_until((HEADERS, DATA), 1)
        data += got[3] if got[0] == DATA else b""
        if got[1] & END_STREAM:
            break
    raw.close()
    with Client(port) as c:
        want = c.query("Search", body)[-1]
    messages = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        part = data[5:5 + length]
        messages.append(gzip.decompress(part) if data[0] else part)
        packed, data = data[0], data[5 + length:]
    equal((packed, messages[-1]), (1, want))


def form_otlp_port(api, port):
    """otlp.grpc_listen: spans come in, nothing goes out."""
    trace_id = os.urandom(16)
    with Client(OTLP_PORT[0]) as c:
        equal(c.unary(EXPORT, request(span(trace_id, os.urandom(8)))), b"\x0a\x00")
        fails(grpc.StatusCode.UNIMPLEMENTED, c.query, "Search", message(f8="{}"))
        equal(c.unary(HEALTH, b""), b"\x08\x01")
    equal(Api(OTLP_PORT[0]).ask("/api/search")[0], 404)
    wait.until("the span", lambda: is_stored(api, trace_id), 10, 0.05)


# --- many, and bad ones ---

def form_many_streams(api, port):
    ids = [os.urandom(16) for _ in range(300)]
    with Client(port) as c, concurrent.futures.ThreadPoolExecutor(60) as pool:
        got = list(pool.map(lambda i: c.unary(EXPORT, request(span(i, os.urandom(8)))), ids))
    equal(set(got), {b"\x0a\x00"})
    wait.until("the spans", lambda: all(is_stored(api, i) for i in ids[::37]), 10, 0.05)


def form_side_by_side(api, port):
    now = int(time.time())
    body = message(f8="{}", f5=now - 7200, f6=now + 60)

    def one(i):
        if i % 2:
            return api.ask("/api/echo")[2]
        with Client(port) as c:
            return len(c.query("Search", body))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(one, range(100)))
    equal(got[1::2], [b"echo"] * 50)
    equal([n >= 1 for n in got[0::2]], [True] * 50)


def form_reset_in_the_middle(_, port):
    raw = Raw(port).hello()
    for stream in range(1, 401, 2):
        raw.s.sendall(call_headers(EXPORT, stream) + frame(DATA, 0, stream, b"\0\0\0\xff\xff" + b"x" * 100) +
                      frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
    raw.s.sendall(call_headers(HEALTH, 401) + call_body(b"", 401))
    got = raw.read_until((DATA,), 401)
    equal(got[3], b"\0\0\0\0\x02\x08\x01")
    raw.close()
    still_serves(port)


def form_cancel(_, port):
    now = int(time.time())
    body = message(f8="{} >> {} >> {}", f5=now - 7200, f6=now + 60, f4=1000)
    with Client(port) as c:
        for _ in range(20):
            c.stream(QUERIER + "Search", body).cancel()
    still_serves(port)


def form_rapid_reset(_, port):
    """A flood of resets ends the connection, and nothing else."""
    raw = Raw(port).hello()
    try:
        for stream in range(1, 20001, 2):
            raw.s.sendall(call_headers(HEALTH, stream) + frame(RST_STREAM, 0, stream, bytes(4)))
    except OSError:
        pass
    got = raw.read_until((GOAWAY,))
    equal(got is None or got[0] == GOAWAY, True)
    raw.close()
    still_serves(port)


def form_not_grpc(_, port):
    raw = Raw(port).hello()
    payload = call_headers("/api/echo")[9:].replace(b"application/grpc", b"application/grpd")
    raw.s.sendall(frame(HEADERS, END_HEADERS | END_STREAM, 1, payload))
    got = raw.read_until((HEADERS,), 1)
    assert b"415" in got[3] or got[3], got  # Huffman or not: a response, and the end of the stream
    equal(got[1] & END_STREAM, END_STREAM)
    raw.close()


def form_bad_frames(_, port):
    for bad in (b"\xff" * 64, frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff"),
                frame(DATA, 0, 1, b"x"), frame(PING, 0, 0, b"short"),
                frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31))):
        raw = Raw(port).hello()
        raw.s.sendall(bad)
        equal(raw.read_until((GOAWAY,))[0], GOAWAY)
        equal(raw.read_until(()), None)
        raw.close()
    for body in (b"\0\0\0\0\5abc", b"\2\0\0\0\0", b"\0\0\0", b"", b"\1\0\0\0\0",
                 b"\0\0\0\0\0" * 2):
        raw = Raw(port).hello()
        raw.s.sendall(call_headers(EXPORT) + frame(DATA, END_STREAM, 1, body))
        got = raw.read_until((HEADERS,), 1)
        equal(got[1] & END_STREAM, END_STREAM)
        raw.close()
    still_serves(port)


def form_garbage_preface(api, port):
    for garbage in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 20,
                    b"\0" * 30, b"PRX"):
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(garbage)
            s.shutdown(socket.SHUT_WR)
            try:
                while got := s.recv(4096):
                    equal(b"200" in got.splitlines()[0], False)
            except (socket.timeout, ConnectionResetError):
                pass  # libmicrohttpd may wait for the rest of a line
    with socket.create_connection(("127.0.0.1", port), 10) as s:  # HTTP/1, byte by byte
        for b in b"PATCH /api/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n":
            s.sendall(bytes([b]))
        got = b""
        while part := s.recv(4096):
            got += part
        equal(got[-4:], b"echo")
    still_serves(port)


# --- those who wait: all at the same time, as each takes a deadline ---

def slow_preface(port):
    """One byte a second: closed once the time is over."""
    began = time.time()
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.settimeout(1)
        for b in PREFACE:
            try:
                s.sendall(bytes([b]))
                if s.recv(100) == b"":
                    break
            except socket.timeout:
                continue
            except OSError:
                break
        else:
            raise AssertionError("a preface of 24 seconds was accepted")
    assert PREFACE_SECONDS - 2 < time.time() - began < PREFACE_SECONDS + 6, time.time() - began


def silent_then_http(port):
    """Who says nothing at first is served all the same."""
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        time.sleep(PREFACE_SECONDS + 2)
        s.sendall(b"GET /api/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while part := s.recv(4096):
            got += part
        equal(got[-4:], b"echo")


def stalled_reader(port):
    """A window of 0 that is never opened: the stream is reset, the connection stays."""
    began = time.time()
    raw = Raw(port).hello(window=0)
    raw.s.sendall(call_headers(HEALTH) + call_body(b""))
    equal(raw.read_until((RST_STREAM,), 1)[0], RST_STREAM)
    assert time.time() - began > STALL_SECONDS - 2, time.time() - began
    raw.s.sendall(frame(PING, 0, 0, b"12345678"))
    got = raw.read_until((PING,))
    equal((got[1], got[3]), (ACK, b"12345678"))
    raw.close()


def stalled_writer(port):
    raw = Raw(port).hello()
    raw.s.sendall(call_headers(EXPORT) + frame(DATA, 0, 1, b"\0\0\0\x10\0abc"))
    equal(raw.read_until((RST_STREAM,), 1)[0], RST_STREAM)
    raw.close()


def form_who_waits(_, port):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(f, port) for f in (slow_preface, silent_then_http, stalled_reader,
                                               stalled_writer) for _ in range(3)]
        while not all(j.done() for j in jobs):
            still_serves(port)
            time.sleep(0.5)
        for j in jobs:
            j.result()


def run(port, otlp_port):
    """(passed, failed); prints a line for each that failed."""
    OTLP_PORT[:] = [otlp_port]
    api = Api(port)
    passed = failed = 0
    for name, form in list(globals().items()):
        if not name.startswith("form_"):
            continue
        try:
            form(api, port)
            passed += 1
        except Exception as e:  # pylint: disable=broad-except
            print(f"FAIL grpc {name[5:]}: {type(e).__name__}: {e}")
            failed += 1
    return passed, failed
