# SPDX-License-Identifier: Apache-2.0
"""The judge of the other tests can say no: right traces, made by hand, are damaged one way each."""

import copy

import pytest

from tempo import CHAIN, chain_faults
from test_load import request_faults

ENTRY = {"rid": "r1", "uri": "/api/todos?limit=3&rid=r1", "status": 200, "body_bytes_sent": 100}


class Made:
    """As much of a span as the judge looks at."""

    def __init__(self, n, hop):
        self.service, self.kind = hop
        self.id, self.parent = str(n), str(n - 1) if n else ""
        self.start, self.end, self.name = 100 + n, 200 - n, ""
        self.attrs = {"http.response.status_code": 200, "http.response.body.size": 100,
                      "url.query": "limit=3&rid=r1"} if n < 3 else {
                          "db.response.returned_rows": 3}


@pytest.fixture
def right():
    return [Made(n, hop) for n, hop in enumerate(CHAIN)]


def test_right_trace_passes(right):
    assert chain_faults(right) == []
    assert request_faults(ENTRY, [right]) == []


def test_no_trace(right):
    assert request_faults(ENTRY, [])[0][0] == "missing"


def test_two_traces(right):
    assert request_faults(ENTRY, [right, right])[0][0] == "doubled"


@pytest.mark.parametrize("n", range(len(CHAIN)))
def test_missing_span(right, n):
    del right[n]
    assert "missing" in [kind for kind, _ in request_faults(ENTRY, [right])]


@pytest.mark.parametrize("n", range(len(CHAIN)))
def test_doubled_span(right, n):
    right.append(copy.copy(right[n]))
    assert "doubled" in [kind for kind, _ in request_faults(ENTRY, [right])]


@pytest.mark.parametrize("n", range(1, len(CHAIN)))
def test_parents(right, n):
    right[n].parent = ""
    assert [kind for kind, _ in request_faults(ENTRY, [right])] == ["no parent"]
    right[n].parent = "9"
    assert [kind for kind, _ in request_faults(ENTRY, [right])] == ["wrong parent"]


@pytest.mark.parametrize("n", range(1, len(CHAIN)))
def test_child_outside_its_parent(right, n):
    right[n].start = 0
    assert "outside" in [kind for kind, _ in request_faults(ENTRY, [right])]


def test_root_with_a_parent(right):
    right[0].parent = "7"
    assert len(request_faults(ENTRY, [right])) == 1


def test_stranger(right):
    right.append(Made(0, ("redis", "SERVER")))
    assert "does not belong" in [kind for kind, _ in request_faults(ENTRY, [right])]


def test_merged_requests(right):
    right[2].attrs["url.query"] = "limit=3&rid=r2"
    assert request_faults(ENTRY, [right])[0][0] == "merged"


@pytest.mark.parametrize("n,key", [(0, "http.response.body.size"), (2, "http.response.status_code"),
                                   (3, "db.response.returned_rows")])
def test_untrue_values(right, n, key):
    right[n].attrs[key] += 1
    assert len(request_faults(ENTRY, [right])) == 1
