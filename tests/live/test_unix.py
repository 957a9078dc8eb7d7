# SPDX-License-Identifier: Apache-2.0
"""The same chain when nginx and the API, and the API and PostgreSQL, speak over Unix-domain sockets.

The hook that sees their sends is attached when such traffic is first seen, so requests are made until
one has its five spans; from then on each must have them. A receiver's span hangs on its sender's, or, if
the receiver was faster than the sender's hook, on nothing; how often that is so depends on the machine, but
the two spans' own times say when. Never does it hang on anything else.
"""

import bisect
import collections
import os
import re

import pytest
import wait
from collector import Collector
from stack import Stack
from tempo import CHAIN, chain_faults

REQUESTS = 300
AT_ONCE_NS = 1_000_000  # from a hook's reading of the clock to the publishing of its link, and then some
BY_SOCKET = ((CHAIN[1], CHAIN[2]), (CHAIN[3], CHAIN[4]))
WITHIN = ((CHAIN[0], CHAIN[1]), (CHAIN[2], CHAIN[3]))


@pytest.fixture
def unix_stack(root_folder):
    with Stack(os.path.join(root_folder, "unix"), {"STACK_UNIX": "1"}) as s:
        yield s


def whole(stack, tempo, rid):
    stack.request("GET", f"/api/todos?rid={rid}")
    _, spans = tempo.await_rid(rid)
    return not chain_faults(spans)


def by_request(tempo):
    """{rid: {hop: [spans]}} of all requests x…: one came after the other, so a span is of the request that
    nginx had read last, whatever trace it is in."""
    spans = sorted((s for t in tempo.search("{ kind = server }", 262144, 100)
                    for s in tempo.trace(t["traceID"].rjust(32, "0"))), key=lambda s: s.start)
    first = [s for s in spans if (s.service, s.kind) == CHAIN[0]]
    starts = [s.start for s in first]
    out = collections.defaultdict(lambda: collections.defaultdict(list))
    for s in spans:
        at = bisect.bisect(starts, s.start) - 1
        rid = at >= 0 and re.search(r"rid=(x\d+)$", first[at].attrs.get("url.query", ""))
        if rid:
            out[rid[1]][s.service, s.kind].append(s)
    return out


def verdict(sender, receiver):
    if receiver.parent == sender.id:
        return "joined"
    if receiver.parent:
        return "wrong"
    return "receiver first" if receiver.start < sender.start + AT_ONCE_NS else "sender first"


def test_five_spans_over_unix_sockets(unix_stack, folder):
    stack = unix_stack
    args = ["--open-ports", stack.ports, "--exe-path", os.path.join(stack.folder, "api"),
            "--redact-query", "off"]
    with Collector(folder, *args) as collector:
        tempo = collector.tempo()
        tries = iter(range(1000))
        wait.until("the first whole trace", lambda: whole(stack, tempo, f"u{next(tries)}"), 30, 0.2)
        for i in range(REQUESTS):
            stack.request("GET", f"/api/todos?rid=x{i}")
        stack.request("GET", "/api/todos?rid=last")
        tempo.await_rid("last")  # spans come in order
        found = by_request(tempo)
        assert tempo.losses() == {}
    assert set(found) == {f"x{i}" for i in range(REQUESTS)}
    hops = [{hop: len(at[hop]) for hop in at} for at in found.values()]
    assert [h for h in hops if h != dict.fromkeys(CHAIN, 1)] == []
    one = [{hop: spans[0] for hop, spans in at.items()} for at in found.values()]
    for sender, receiver in WITHIN:
        assert all(at[receiver].parent == at[sender].id for at in one)
    for sender, receiver in BY_SOCKET:
        seen = collections.Counter(verdict(at[sender], at[receiver]) for at in one)
        assert set(seen) <= {"joined", "receiver first"}, seen
        assert seen["joined"] >= REQUESTS // 10, seen
