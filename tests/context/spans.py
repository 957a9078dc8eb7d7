# SPDX-License-Identifier: Apache-2.0
"""The spans of one program since a moment, by two searches: its calls, and the requests they may
hang on. A program may be several services: <name> and <name>-<what>."""

import time
import urllib.parse

import wait
from tempo import attrs_of
from truth import key_of_path, key_of_sql

MANY = 262144
SPANS_MAX = 100  # of one trace in a search's answer
SECONDS = 15
QUIET_SECONDS = 2  # without a new span: those that are missing will not come


class Call:
    """A CLIENT span; key: see truth.py, None when it is not a call that a program of ours makes."""

    def __init__(self, trace, span, parent, attrs):
        path = urllib.parse.urlsplit(attrs.get("url.full", "")).path
        self.trace, self.id, self.parent = trace, span, parent
        self.text = path or attrs.get("db.query.text", "")
        self.key = key_of_path(path) or key_of_sql(self.text)
        self.how = attrs.get("wirespan.parent", "")


class Spans:
    def __init__(self, tempo, service, since):
        self.tempo, self.service, self.since = tempo, service, since
        self.calls, self.servers = [], {}

    def search(self, kind, select):
        """(trace id, span id, parent's id, attributes) of each span."""
        q = '{ resource.service.name =~ "%s(-.*)?" && kind = %s } | select(span:parentID, %s)' % (
            self.service, kind, select)
        back = int(time.time() - self.since) + 2
        for t in self.tempo.search(q, MANY, SPANS_MAX, back):
            spans = t["spanSets"][0]["spans"]
            if t["spanSets"][0]["matched"] > len(spans):
                yield from self.whole(t["traceID"], kind)
                continue
            for s in spans:
                attrs = attrs_of(s.get("attributes", []))
                parent = attrs.get("span:parentID", "")
                yield t["traceID"], s["spanID"], parent if parent.strip("0") else "", attrs

    def whole(self, trace, kind):
        """The same of a trace that is too large for a search's answer."""
        for s in self.tempo.trace(trace):
            if s.service.startswith(self.service) and s.kind == kind.upper():
                yield trace, s.id, s.parent, s.attrs

    def read(self):
        """self.calls, and self.servers: {span id: path} of the SERVER spans."""
        self.calls = [Call(*found) for found in self.search(
            "client", "span.url.full, span.db.query.text, span.wirespan.parent")]
        self.servers = {span: attrs.get("url.path", "")
                        for _, span, _, attrs in self.search("server", "span.url.path")}
        return self


def await_request(spans, name):
    """The last request's own span is there, and with it all that came before."""
    try:
        wait.until(f"the SERVER span of /r/{name}",
                   lambda: "/r/" + name in spans.read().servers.values(), SECONDS, 0.1)
    except wait.TimedOut:
        pass  # the figures say it better


def await_calls(spans, truth):
    """All calls that were made, or nothing new for a while."""
    best, since = -1, time.monotonic()
    while True:
        found = len({c.key for c in spans.calls} & set(truth.attempted))
        if found == len(truth.attempted):
            return
        if found > best:
            best, since = found, time.monotonic()
        if time.monotonic() - since > QUIET_SECONDS * wait.SLOW:
            return
        time.sleep(0.1)
        spans.read()
