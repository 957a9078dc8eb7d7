# SPDX-License-Identifier: Apache-2.0
"""A reader of Wirespan's HTTP API, and spans as the tests want them.

Reads only what Grafana could read too (/api/search, /api/v2/traces, /metrics), never the store. One
keep-alive connection per Tempo object; not for several threads. Also holds the one definition of
what the chain of a proxied request must look like, so that the demo, the live tests and the
benchmark cannot disagree about it.
"""

import base64
import collections
import http.client
import json
import os
import re
import time
import urllib.parse

import wait

# A request through the stack: who must be in its trace, from the outside in.
CHAIN = [("nginx", "SERVER"), ("nginx", "CLIENT"), ("api", "SERVER"), ("api", "CLIENT"),
         ("postgres", "SERVER")]

KERNEL = tuple(int(n) for n in os.uname().release.split(".")[:2])
PREEMPTED = KERNEL >= (7, 2)  # programs on tracepoints (kern/preempt.h)
# Not asked for there: runs that the kernel leaves out, most of them of system calls that do not matter.
# test_preempted.py has the bound.
LEFT_OUT = ("recursion",) if PREEMPTED else ()


def value_of(any_value):
    """An OTLP AnyValue in JSON as a Python value."""
    kind, v = next(iter(any_value.items()), (None, None))
    if kind == "intValue":
        return int(v)
    if kind == "arrayValue":
        return [value_of(x) for x in v.get("values", [])]
    return v


def attrs_of(pairs):
    return {p["key"]: value_of(p.get("value", {})) for p in pairs}


def hex_id(b64):
    return base64.b64decode(b64).hex() if b64 else ""


class Span:
    """One span of a trace: ids in hex, times in ns, kind and status in one word."""

    def __init__(self, raw, resource, schema_url):
        self.trace_id = hex_id(raw["traceId"])
        self.id = hex_id(raw["spanId"])
        self.parent = hex_id(raw.get("parentSpanId"))
        self.name = raw.get("name", "")
        self.kind = raw.get("kind", "").removeprefix("SPAN_KIND_")
        self.start = int(raw["startTimeUnixNano"])
        self.end = int(raw["endTimeUnixNano"])
        self.status = raw["status"].get("code", "STATUS_CODE_UNSET").removeprefix("STATUS_CODE_")
        self.attrs = attrs_of(raw.get("attributes", []))
        self.resource = resource
        self.schema_url = schema_url
        self.service = resource.get("service.name", "")

    def __repr__(self):
        return f"{self.service} {self.kind} '{self.name}'"


def spans_of(trace):
    """All spans of a v2 trace answer."""
    out = []
    for rs in trace.get("trace", {}).get("resourceSpans", []):
        resource = attrs_of(rs["resource"].get("attributes", []))
        for ss in rs.get("scopeSpans", []):
            url = ss.get("schemaUrl") or rs.get("schemaUrl", "")
            out += [Span(raw, resource, url) for raw in ss.get("spans", [])]
    return out


class Tempo:
    def __init__(self, port):
        self.port = port
        self.conn = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, target, headers=None):
        """(status, body); connects anew once if the idle connection was closed meanwhile."""
        for last in (False, True):
            try:
                self.conn.request("GET", target, headers=headers or {})
                answer = self.conn.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.conn.close()
                if last:
                    raise

    def get_json(self, target):
        status, body = self.get(target)
        if status != 200:
            raise AssertionError(f"GET {target}: {status} {body.decode(errors='replace')}")
        return json.loads(body)

    def search(self, q, limit=20, spss=3, back=3600):
        now = int(time.time())
        query = urllib.parse.urlencode(
            {"q": q, "limit": limit, "spss": spss, "start": now - back, "end": now + 60})
        return self.get_json("/api/search?" + query)["traces"]

    def search_ids(self, q, limit=262144):
        """Full ids (32 digits) of the matching traces."""
        return [t["traceID"].rjust(32, "0") for t in self.search(q, limit)]

    def trace(self, trace_id):
        return spans_of(self.get_json("/api/v2/traces/" + trace_id))

    def by_rid(self, rid):
        """Trace ids in which some span's query string is exactly rid=<rid>, or ends in it."""
        return self.search_ids('{ span.url.query =~ "(.*&)?rid=%s" }' % rid)

    def ids_by_rid(self, prefix):
        """{rid: [trace ids]} of all requests whose rid begins like that, with one search."""
        q = ('{ resource.service.name = "nginx" && kind = server && '
             'span.url.query =~ "(.*&)?rid=%s.*" }' % prefix)
        out = collections.defaultdict(list)
        for t in self.search(q, 262144, 1):
            attrs = attrs_of(t["spanSets"][0]["spans"][0].get("attributes", []))
            out[attrs["url.query"].rpartition("rid=")[2]].append(t["traceID"].rjust(32, "0"))
        return out

    def await_rid(self, rid, cnt=len(CHAIN), seconds=10):
        """(trace id, spans) once the trace has cnt spans; what there is when time is up."""
        found = (None, [])

        def look():
            nonlocal found
            ids = self.by_rid(rid)
            if ids:
                found = (ids[0], self.trace(ids[0]))
            return len(found[1]) >= cnt

        try:
            wait.until("trace of " + rid, look, seconds)
        except wait.TimedOut:
            pass
        return found

    def metrics(self):
        """{'name{labels}': number} of /metrics."""
        status, body = self.get("/metrics")
        if status != 200:
            raise AssertionError(f"GET /metrics: {status}")
        rows = (line.rsplit(" ", 1) for line in body.decode().splitlines()
                if line and not line.startswith("#"))
        return {name: float(number) for name, number in rows}

    def losses(self):
        """The loss counters that are not zero, without LEFT_OUT: {reason: count}."""
        rows = ((re.fullmatch(r'wirespan_lost_total\{reason="(\w+)"\}', k), v)
                for k, v in self.metrics().items())
        found = [(m[1], v) for m, v in rows if m]
        if not found:
            raise AssertionError("/metrics has no wirespan_lost_total")
        return {reason: v for reason, v in found if v and reason not in LEFT_OUT}


def hop_name(hop):
    return " ".join(hop)


def hops_faults(spans, hops):
    """({hop: span}, [what is missing, doubled or does not belong])."""
    faults, at = [], {}
    for hop in hops:
        here = [s for s in spans if (s.service, s.kind) == hop]
        if len(here) == 1:
            at[hop] = here[0]
        else:
            faults.append(f"{hop_name(hop)}: {len(here)} spans instead of 1" if here
                          else f"{hop_name(hop)}: missing")
    faults += [f"{s!r}: does not belong here" for s in spans if (s.service, s.kind) not in hops]
    return at, faults


def link_faults(at, hops):
    """Parents (no parent and a wrong parent are told apart) and times, hop by hop."""
    faults = []
    for outer, inner in zip(hops, hops[1:]):
        if outer not in at or inner not in at:
            continue
        p, c = at[outer], at[inner]
        if not c.parent:
            faults.append(f"{hop_name(inner)}: no parent, should be {hop_name(outer)}")
        elif c.parent != p.id:
            faults.append(f"{hop_name(inner)}: wrong parent, should be {hop_name(outer)}")
        if c.start < p.start or c.end > p.end:
            faults.append(f"{hop_name(inner)}: outside {hop_name(outer)} in time (starts "
                          f"{c.start - p.start:+d} ns, ends {c.end - p.end:+d} ns)")
    return faults


def chain_faults(spans, names=None, hops=None, root_parent=""):
    """Everything that is wrong with the trace of one request, in sentences; [] is right.

    names: the five span names, or None; root_parent: what the outermost span must hang on."""
    hops = hops or CHAIN
    at, faults = hops_faults(spans, hops)
    faults += link_faults(at, hops)
    first = at.get(hops[0])
    if first and first.parent != root_parent:
        faults.append(f"{hop_name(hops[0])}: parent is '{first.parent}', not '{root_parent}'")
    for hop, name in zip(hops, names or []):
        if hop in at and at[hop].name != name:
            faults.append(f"{hop_name(hop)}: is called '{at[hop].name}', not '{name}'")
    return faults


def by_hop(spans):
    return {(s.service, s.kind): s for s in spans}
