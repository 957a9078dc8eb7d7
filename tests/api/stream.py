# SPDX-License-Identifier: Apache-2.0
"""Answers by gRPC that come in parts: together they are the answer of HTTP, the first one comes early, who leaves
ends the work, and for who does not read nothing is heaped up.

Every function stream_* is one test against one server (capture off). Questions are made slow by what they ask of
each span: some thousand signs before a number, each of which is an operation. What merges the parts here does as
Grafana does: of a trace the first one counts, of a sample the last one.
"""

import contextlib
import http.client
import re
import struct
import time
import urllib.parse

import grpc

import grpc_client
import grpc_forms
import replay
import wait
from collector import Collector
from forms import Api, equal
from grpc_client import DATA, END_STREAM, HEADERS, QUERIER, WINDOW_UPDATE, frame
from stress import BASE, HANGS, cpu_seconds, fields, push, search, span, target

TRACES, SPANS = 60, 1000
ALL = "{ resource.service.name = `stream` }"


def slow(times, rest=""):
    """With ten times some 0.2 ms for each span."""
    return ALL + ("|{" + "-" * 450 + "1!=0}") * times + rest


def trace(n):
    """The later, the longer: quantiles of the first traces are not those of all, wherever a part ends."""
    first = (TRACES - n) * 10**5
    spans = [span(first + i, f"{0x57 << 64 | n:032x}", first if i else 0) for i in range(SPANS)]
    for s in spans:
        s["endTimeUnixNano"] = str(int(s["startTimeUnixNano"]) + (n + 1) * 10**6)
    return spans


def fill(api):
    """What comes later has started earlier, so the walk, which begins with what came last, finds the oldest first."""
    for n in range(TRACES):
        push(api, trace(n), "stream")
    wait.until("all traces", lambda: len(search(api, ALL, limit=1000)) == TRACES, 60)


# --- searches ---

def search_message(q, limit=1000):
    return grpc_client.message(f8=q, f5=BASE - 600, f6=BASE + 600, f4=limit, f9=2)


def by_http(api, q, limit=1000):
    """The traces, each as its bytes."""
    status, _, whole = api.ask(target(q, limit=limit, spss=2), Accept="application/protobuf")
    equal(status, 200)
    return fields(whole)[1]


def messages(api, name, body):
    """[(seconds, message)]"""
    began = time.monotonic()
    with grpc_client.Client(api.port) as c:
        return [(time.monotonic() - began, m) for m in c.stream(QUERIER + name, body, timeout=HANGS)]


def jobs(message, field):
    metrics = fields(fields(message)[field][0])
    return (metrics[4] or [0])[0], (metrics[5] or [0])[0]


def in_parts(got):
    """Early, and not all at the end."""
    print(f"stream: {len(got)} messages, the first after {got[0][0]:.2f} s, the last after {got[-1][0]:.2f} s")
    if len(got) < 3 or got[0][0] > got[-1][0] / 2:
        raise AssertionError(f"not in parts: {[t for t, _ in got]}")


def stream_search(api):
    """Nothing comes twice; only the last message says that this was all."""
    got = messages(api, "Search", search_message(slow(10)))
    in_parts(got)
    traces = [t for _, m in got for t in fields(m)[1]]
    equal(sorted(traces), sorted(by_http(api, slow(10))))
    equal(len(traces), TRACES)
    equal([jobs(m, 2) for _, m in got], [(0, 1)] * (len(got) - 1) + [(1, 1)])


def stream_limit(api):
    """As many as were asked for, in all messages together."""
    got = messages(api, "Search", search_message(slow(10), limit=20))
    in_parts(got)
    traces = [t for _, m in got for t in fields(m)[1]]
    equal((len(traces), len(set(traces))), (20, 20))
    if not set(traces) <= set(by_http(api, slow(10))):
        raise AssertionError("a trace that HTTP does not know")


def stream_most_recent(api):
    """The newest ones, though older ones were found before."""
    q = slow(3, " with(most_recent=true)")
    traces = [t for _, m in messages(api, "Search", search_message(q, limit=20)) for t in fields(m)[1]]
    equal(sorted(traces), sorted(by_http(api, q, limit=20)))
    equal({int(fields(t)[1][0], 16) & 0xFFFF for t in traces}, set(range(20)))


# --- metrics ---

def merge(parts):
    """{labels: {time: value}}; the later value wins."""
    out = {}
    for m in parts:
        for s in replay.pb("QueryRangeResponse", m).get("series", []):
            samples = out.setdefault(str(s["labels"]), {})
            samples.update({x["timestampMs"]: x.get("value", 0.0) for x in s.get("samples", [])})
    return out


def metrics(api, q, parts):
    """Asked both ways."""
    start, end, step = (BASE - 300) * 10**9, (BASE + 300) * 10**9, 10 * 10**9
    got = messages(api, "MetricsQueryRange", grpc_client.message(f1=q, f2=start, f3=end, f4=step))
    if parts:
        in_parts(got)
        equal(merge([got[0][1]]) == merge([got[-1][1]]), False)
    else:
        equal(len(got), 1)
    equal(merge(m for _, m in got), merge([got[-1][1]]))
    equal([jobs(m, 2) for _, m in got], [(0, 1)] * (len(got) - 1) + [(1, 1)])
    ask = urllib.parse.urlencode({"q": q, "start": start, "end": end, "step": "10s"})
    grpc_forms.same_series(api, f"/api/metrics/query_range?{ask}", got[-1][1], "QueryRangeResponse")


def stream_metrics(api):
    metrics(api, slow(4, "| rate() by (name)"), True)


def stream_metrics_of_traces(api):
    """Where whole traces are loaded: a part is made in the middle of one."""
    metrics(api, slow(4, "| count() > 0 | quantile_over_time(duration, .5, .9)"), True)


def stream_metrics_that_may_vanish(api):
    """Whoever is the first of all is known at the end."""
    metrics(api, slow(1, "| rate() by (name) | topk(2)"), False)


# --- who leaves, and who does not read ---

def answered(api, name, status):
    text = api.ask("/metrics")[2].decode()
    found = re.search(rf'grpc_requests_total{{method="[^"]*/{name}",status="{status}"}} (\d+)', text)
    return int(found[1]) if found else 0


def stream_who_leaves(api):
    """After the first part: the work ends, and is counted as cancelled."""
    for name, body in (("Search", search_message(slow(10))),
                       ("MetricsQueryRange", grpc_client.message(f1=slow(10, "| rate()"), f2=(BASE - 300) * 10**9,
                                                                 f3=(BASE + 300) * 10**9, f4=10**10))):
        before = answered(api, name, 1)
        with grpc_client.Client(api.port) as c:
            call = c.stream(QUERIER + name, body, timeout=HANGS)
            next(call)
            call.cancel()
            with contextlib.suppress(grpc.RpcError):
                list(call)
        cpu = cpu_seconds(api.pid)
        wait.until("it ends", lambda: answered(api, name, 1) == before + 1, 10)  # pylint: disable=cell-var-from-loop
        work = cpu_seconds(api.pid) - cpu
        print(f"{name}, left: {work:.2f} s of work more")
        if work > 2:
            raise AssertionError(f"{work:.2f} s of work for nobody")


def stream_who_does_not_read(api):
    """One part waits for him; the rest comes with the last message."""
    q = slow(4)
    before = answered(api, "Search", 0)
    raw = grpc_client.Raw(api.port).hello(window=0)
    raw.s.sendall(grpc_client.call_headers(QUERIER + "Search") + grpc_client.call_body(search_message(q)))
    wait.until("the answer", lambda: answered(api, "Search", 0) == before + 1, HANGS)
    raw.s.sendall(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1 << 20)))
    data, flags = b"", 0
    while not flags & END_STREAM:
        kind, flags, _, payload = raw.read_until((HEADERS, DATA), 1)
        data += payload if kind == DATA else b""
    raw.close()
    got = []
    while data:
        length = int.from_bytes(data[1:5], "big")
        got.append(data[5:5 + length])
        data = data[5 + length:]
    equal(len(got), 2)
    equal(sorted(t for m in got for t in fields(m)[1]), sorted(by_http(api, q)))


def run(folder):
    """(passed, failed); says what failed."""
    passed, failed = 0, 0
    with Collector(folder, "--capture", "off") as collector:
        api = Api(collector.port)
        api.pid, api.seconds = collector.pid, 2 * HANGS
        fill(api)
        for name, test in list(globals().items()):
            if not name.startswith("stream_"):
                continue
            try:
                test(api)
                passed += 1
            except (AssertionError, LookupError, OSError, ValueError, TypeError, wait.TimedOut,
                    http.client.HTTPException, grpc.RpcError) as e:
                failed += 1
                print(f"FAIL {name} :: {type(e).__name__}: {str(e)[:500]}")
    return passed, failed
