# SPDX-License-Identifier: Apache-2.0
"""Clocks that differ: a trace stays a tree, is found whole, and lasts as long as its root does.

Two nodes as in test_nodes.py, of which the second one's wall clock is off (its collector's, and so all of
its spans; progs/clock.c); then spans of both pushed into one store. The truth is the client's: how
many requests there were, and how long all of them took.
"""

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

import wait
from collector import BINARY, Collector
from nodes import ADDRESS, SERVER, Node, Wire, ask, spans_of
from peers import PREFIX, PROGS

OFF = [-7200, -600, -5, 5, 600, 7200]
REQUESTS = 20
S = 10**9


@pytest.fixture(scope="module")
def wire():
    with Wire() as w:
        yield w


@pytest.fixture(scope="module")
def clock(module_folder):
    target = os.path.join(module_folder, "clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", target, os.path.join(PROGS, "clock.c")], check=True)
    return target


def node(folder, name, more=None):
    return Collector(os.path.join(folder, name), "--name", f"{PREFIX}{name}*",
                     "--propagation-tcp-option", "on", env=more)


def searched(tempo, q, at):
    """What a window of an hour around that time (seconds) has."""
    return tempo.get_json("/api/search?" + urllib.parse.urlencode(
        {"q": q, "limit": 1000, "start": int(at) - 1800, "end": int(at) + 1800}))["traces"]


def drawn(tempo, trace_id):
    """The lines of the tree without their times and bars."""
    args = [BINARY, "trace", "--listen", f"127.0.0.1:{tempo.port}", trace_id]
    done = subprocess.run(args, check=True, text=True, stdout=subprocess.PIPE)
    return [line.split(" GET")[0] for line in done.stdout.splitlines()[1:] if line]


@pytest.mark.parametrize("off", OFF)
def test_nodes(wire, clock, folder, off):
    address, cs, ss = ADDRESS["4"][1], PREFIX + "ka", PREFIX + "kb"
    requests = [(f"/{n}", 0, n % 3 == 0) for n in range(REQUESTS)]
    a, b = node(folder, "ka"), node(folder, "kb", {"LD_PRELOAD": clock, "CLOCK_OFF": str(off)})
    for x in (a, b):
        x.args += ["--query-peers", f"127.0.0.1:{a.port},127.0.0.1:{b.port}"]
    with a, b, Node(wire, 1, b, "kb", SERVER, address):
        wait.until("the server", lambda: wire.answers(address), 15)
        began = time.time()
        ask(wire, a, "ka", requests, address)
        took = time.time() - began
        now = time.time()
        clients = spans_of(a.tempo(), "ka", REQUESTS)
        wait.until("all spans", lambda: len(searched(b.tempo(), '{ resource.service.name = "%s" }' % ss,
                                                     now + off)) == REQUESTS, 30, 0.2)
        for tempo in (a.tempo(), b.tempo()):
            for c in clients.values():
                spans = {s.service: s for s in tempo.trace(c.trace_id)}
                assert sorted(spans) == [cs, ss] and spans[ss].parent == spans[cs].id == c.id
                assert spans[cs].start == c.start and abs(spans[ss].start - c.start - off * S) < 2 * S
            assert drawn(tempo, c.trace_id) == [cs, "└─ " + ss]
            for q, at in (("{ }", now), ("{ }", now + off), ('{ resource.service.name = "%s" }' % cs, now)):
                found = searched(tempo, q, at)
                assert {t["traceID"].rjust(32, "0") for t in found} == {c.trace_id for c in clients.values()}
                assert len(found) == REQUESTS
                assert max(t.get("durationMs", 0) for t in found) <= took * 1000


def pushed(tempo, spans):
    body = json.dumps({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": [span]}]} for service, span in spans]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{tempo.port}/v1/traces", body,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("off", OFF)
def test_one_store(folder, off):
    """The part that an hour has is found by it, and lasts as long as it did; the trace is whole."""
    with Collector(folder, "--capture", "off", "--otlp-answer", "committed") as c:
        tempo, now, trace_id = c.tempo(), time.time(), "0123456789abcdef" * 2
        start = int(now) * S

        def span(n, at, length, kind, parent=""):
            return {"traceId": trace_id, "spanId": f"{n:016x}", "parentSpanId": parent, "name": f"GET {n}",
                    "kind": kind, "startTimeUnixNano": str(at), "endTimeUnixNano": str(at + length)}

        pushed(tempo, [("a", span(1, start, 50 * 10**6, 3)),
                       ("b", span(2, start + off * S, 40 * 10**6, 2, f"{1:016x}"))])
        spans = {s.service: s for s in tempo.trace(trace_id)}
        assert spans["b"].parent == spans["a"].id and spans["b"].start - spans["a"].start == off * S
        assert drawn(tempo, trace_id) == ["a", "└─ b"]
        for at, service, other in ((now, "a", "b"), (now + off, "b", "a")):
            found = searched(tempo, '{ resource.service.name = "%s" }' % service, at)
            assert [t["traceID"].rjust(32, "0") for t in found] == [trace_id]
            both = abs(off) <= 1800
            assert found[0]["durationMs"] == (abs(off) * 1000 + (40 if off > 0 else 50) if both
                                             else {"a": 50, "b": 40}[service])
