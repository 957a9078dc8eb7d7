# SPDX-License-Identifier: Apache-2.0
"""The collector comes and goes; the stack does not notice, and the store keeps what it had."""

import os

import load
import wait
from collector import Collector
from tempo import chain_faults

UNDER_LOAD = 60000


def traced(stack, tempo, rid):
    stack.request("GET", f"/api/todos?rid={rid}")
    trace_id, spans = tempo.await_rid(rid)
    assert chain_faults(spans) == []
    return trace_id


def faults_of(tempo, rids, prefix):
    """{rid: what is wrong} for the requests of which exactly one right trace must be there."""
    out, found = {}, tempo.ids_by_rid(prefix)
    for rid in rids:
        ids = found[rid]
        faults = chain_faults(tempo.trace(ids[0])) if len(ids) == 1 else [f"{len(ids)} traces"]
        if faults:
            out[rid] = faults
    return out


def test_kill_under_load(stack, folder):
    args = ["--open-ports", stack.ports, "--redact-query", "off"]
    store = os.path.join(folder, "store")
    first = Collector(os.path.join(folder, "a"), *args, store=store).start()
    second = Collector(os.path.join(folder, "b"), *args, store=store)
    try:
        old = traced(stack, first.tempo(), "before-kill")
        with load.Wrk(stack, "k", UNDER_LOAD) as w:
            wait.until("a first part of the load", lambda: w.progress() > UNDER_LOAD // 6, 60)
            first.kill()
            at_kill = w.progress()
            wait.until("load without a collector", lambda: w.progress() > at_kill + 3000, 60)
            second.start()
            log = w.wait()
        assert w.failures() == []
        assert {e["status"] for e in log} == {200}
        assert len(log) == UNDER_LOAD
        tempo = second.tempo()
        assert chain_faults(tempo.trace(old)) == [], "the old trace is gone"
        traced(stack, tempo, "after-restart")
        last = [e["rid"] for e in log[-1000:]]
        assert faults_of(tempo, last, "k") == {}
    finally:
        first.kill()
        if second.process:
            assert second.stop() == 0


def test_orderly_restart(stack, folder):
    args = ["--open-ports", stack.ports, "--redact-query", "off"]
    with Collector(folder, *args) as c:
        old = traced(stack, c.tempo(), "before-stop")
        assert c.stop() == 0
        stack.request("GET", "/api/todos?rid=meanwhile")
        c.start()
        assert chain_faults(c.tempo().trace(old)) == []
        traced(stack, c.tempo(), "after-stop")
        assert c.tempo().by_rid("meanwhile") == []


def test_stop_loses_nothing(stack, folder):
    """SIGTERM right after the last answer: what was seen is in the store."""
    args = ["--open-ports", stack.ports, "--redact-query", "off"]
    with Collector(folder, *args) as c:
        log = load.sequential(stack, "t", 100)
        assert c.stop() == 0
        c.args += ["--capture", "off"]
        c.start()
        assert faults_of(c.tempo(), [e["rid"] for e in log], "t") == {}
