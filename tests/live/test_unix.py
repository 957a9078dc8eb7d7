# SPDX-License-Identifier: Apache-2.0
"""The same chain when nginx and the API, and the API and PostgreSQL, speak over Unix-domain sockets.

The hook that sees their sends is attached when such traffic is first seen, so requests are made until
one has its five spans; from then on each must have them, joined or (where the receiver was faster
than the sender's hook) in two traces, never in a wrong one.
"""

import os

import pytest
import wait
from collector import Collector
from stack import Stack
from tempo import chain_faults

REQUESTS = 300


@pytest.fixture
def unix_stack(root_folder):
    with Stack(os.path.join(root_folder, "unix"), {"STACK_UNIX": "1"}) as s:
        yield s


def whole(stack, tempo, rid):
    stack.request("GET", f"/api/todos?rid={rid}")
    _, spans = tempo.await_rid(rid)
    return not chain_faults(spans)


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
        tempo.await_rid(f"x{REQUESTS - 1}")
        found = tempo.ids_by_rid("x")
        faults = {rid: faults for rid, ids in found.items() if len(ids) == 1
                  and (faults := chain_faults(tempo.trace(ids[0])))}
        assert len(found) == REQUESTS
        wrong = {rid: f for rid, f in faults.items() if "wrong parent" in str(f)}
        assert wrong == {}
        apart = len(faults) + sum(len(i) > 1 for i in found.values())
        assert apart <= REQUESTS // 50 * wait.SLOW, faults
        assert tempo.losses() == {}
