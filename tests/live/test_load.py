# SPDX-License-Identifier: Apache-2.0
"""2,000 requests one after another and 20,000 by wrk: each has exactly one right trace.

The truth is nginx's access log: which request (rid) was made, how it was answered and with how many
bytes. Lists have 1 to 10 rows by turns, so that a statement that was hung on a neighbour's request
shows by its row count. Everything is loaded once; the tests look at it from different sides. Linux 7.2 leaves
out a run now and then, and its twin's with it (README, Limits): as many requests may have a fault as it counts.
"""

import collections
import re
import urllib.parse

import pytest

import load
from measure import passed_over
from tempo import CHAIN, by_hop, chain_faults

SEQUENTIAL, BY_WRK, BY_ID = (load.scaled(cnt) for cnt in (2000, 20000, 4000))
MIB = 1 << 20


def rid_of(span):
    query = urllib.parse.parse_qs(span.attrs.get("url.query", ""))
    return query.get("rid", [None])[0]


class Load:
    """All that was asked from now on, and, once it is over, every trace that has a server span."""

    def __init__(self, stack, collector):
        self.stack, self.collector = stack, collector
        self.since = stack.log_size()
        self.rss, self.complaints = [], []

    def wrk(self, prefix, cnt, kind, connections=8):
        """nginx's log of it."""
        with load.Wrk(self.stack, prefix, cnt, kind, connections) as w:
            log = w.wait(lambda: self.rss.append(self.collector.rss_anon()))
        self.complaints += w.failures()
        return log

    def over(self):
        tempo = self.collector.tempo()
        self.marker(tempo)
        self.rss.append(self.collector.rss_anon())
        self.log = self.stack.log(self.since)
        self.losses = tempo.losses()
        self.passed_over = passed_over(self.collector.pid)
        self.read(tempo)
        return self

    def marker(self, tempo):
        """Spans arrive in order: when this request's are there, so are all before it."""
        self.stack.request("GET", "/api/todos?rid=marker")
        _, spans = tempo.await_rid("marker", seconds=60)
        assert spans, "the last request has no trace"

    def read(self, tempo):
        found = tempo.search("{ kind = server }", 262144, 100)
        self.traces = [tempo.trace(t["traceID"].rjust(32, "0")) for t in found]
        self.by_rid = collections.defaultdict(list)
        for spans in self.traces:
            for rid in {rid_of(s) for s in spans} - {None}:
                self.by_rid[rid].append(spans)

    def assert_right(self, log):
        faults = self.faults(log)
        assert sum(len(rows) for rows in faults.values()) <= self.passed_over, summary(faults)

    def faults(self, log):
        """{kind of fault: [(rid, sentence)]} over all requests of a log."""
        out = collections.defaultdict(list)
        for entry in log:
            for kind, sentence in request_faults(entry, self.by_rid.get(entry["rid"], [])):
                out[kind].append((entry["rid"], sentence))
        return out


def kind_of(sentence):
    """Wrong parents and missing ones are counted apart: only the first are lies."""
    for word in ("missing", "no parent", "wrong parent", "outside", "does not belong"):
        if word in sentence:
            return word
    return "doubled" if "instead of 1" in sentence else "other"


def truth_faults(entry, spans):
    at = by_hop(spans)
    for hop in CHAIN[:3]:
        attrs = at[hop].attrs if hop in at else {}
        for key, truth in (("http.response.status_code", entry["status"]),
                           ("http.response.body.size", entry["body_bytes_sent"])):
            if hop in at and attrs.get(key) != truth:
                yield f"{hop}: {key} is {attrs.get(key)}, not {truth}"
    limit = re.search(r"limit=(\d+)", entry["uri"])
    rows = int(limit[1]) if limit else 1
    for hop in CHAIN[3:]:
        if hop in at and at[hop].attrs.get("db.response.returned_rows") != rows:
            yield f"{hop}: {at[hop].attrs.get('db.response.returned_rows')} rows, not {rows}"


def request_faults(entry, traces):
    if not traces:
        return [("missing", "no trace")]
    if len(traces) > 1:
        return [("doubled", f"{len(traces)} traces")]
    spans = traces[0]
    rids = {rid_of(s) for s in spans} - {None}
    if rids != {entry["rid"]}:
        return [("merged", f"shares its trace with {sorted(rids - {entry['rid']})[:3]}")]
    found = chain_faults(spans) + list(truth_faults(entry, spans))
    return [(kind_of(sentence), sentence) for sentence in found]


def summary(faults):
    return {kind: (len(rows), rows[:3]) for kind, rows in faults.items()}


@pytest.fixture(scope="module")
def loaded(stack, collector):
    x = Load(stack, collector)
    x.sequential = load.sequential(stack, "s", SEQUENTIAL)
    x.by_wrk = x.wrk("w", BY_WRK, "list")
    x.by_id = x.wrk("i", BY_ID, "one")
    return x.over()


def test_no_request_failed(loaded):
    assert loaded.complaints == []
    assert {e["status"] for e in loaded.log} == {200}
    assert len({e["rid"] for e in loaded.log}) == SEQUENTIAL + BY_WRK + BY_ID + 1


def test_sequential_requests(loaded):
    assert len(loaded.sequential) == SEQUENTIAL
    loaded.assert_right(loaded.sequential)


def test_wrk_requests(loaded):
    assert len(loaded.by_wrk) == BY_WRK
    loaded.assert_right(loaded.by_wrk)


def test_wrk_requests_by_extended_protocol(loaded):
    assert len(loaded.by_id) == BY_ID
    loaded.assert_right(loaded.by_id)


def test_as_many_api_server_spans_as_requests(loaded):
    cnt = sum((s.service, s.kind) == CHAIN[2] for spans in loaded.traces for s in spans)
    assert 0 <= len(loaded.log) - cnt <= loaded.passed_over


def test_no_trace_without_a_request(loaded):
    asked = {e["rid"] for e in loaded.log}
    strange = [spans for spans in loaded.traces if not {rid_of(s) for s in spans} & asked]
    assert len(strange) == 0, strange[:3]


def test_nothing_was_lost(loaded):
    assert max(loaded.losses.values(), default=0) <= loaded.passed_over, loaded.losses


def test_memory_under_load(loaded):
    """RssAnon while wrk ran. (Answers to this module's own large searches come later.)"""
    assert max(loaded.rss) <= 40 * MIB
