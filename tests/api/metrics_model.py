# SPDX-License-Identifier: Apache-2.0
"""TraceQL metrics against an independent model: random spans, random queries, steps and ranges.

The model knows the contract alone: it walks a list of spans once per point of the answer and counts
what started in (t - step, t]. The spans lie hours before those of the recorded cases.
"""

import collections
import json
import math
import os
import random
import time
import urllib.parse

import forms
import wait

NS = 10**9
SPANS, QUERIES, SPAN_S = 600, 250, 900
KINDS = ["unspecified", "internal", "server", "client"]
STATUSES = ["unset", "ok", "error"]
Span = collections.namedtuple("Span", "trace id parent start duration name kind status service attrs root")


# --- spans ---

def random_start(rnd, t0):
    if rnd.random() < 0.3:  # on the edge of an interval
        return (t0 + rnd.randrange(SPAN_S)) * NS
    return t0 * NS + rnd.randrange(SPAN_S * NS)


def random_attrs(rnd):
    values = {"n": rnd.choice([-5, 0, 1, 2, 3, 4, 1000, 2**40, rnd.randrange(10**6)]),
              "f": rnd.choice([-1.5, 0.0, 0.5, 1e308, rnd.random() * 100]),
              "s": rnd.choice(["a", "b", "ab", "", "nil"]), "b": rnd.random() < 0.5}
    return {k: v for k, v in values.items() if rnd.random() < 0.7}


def random_trace(rnd, t0, number):
    trace, root, spans = rnd.getrandbits(64) << 32 | number, rnd.choice(["r1", "r2"]), []
    for i in range(rnd.choice([1, 1, 2, 5, 20])):
        parent = rnd.choice(spans).id if spans else None
        spans.append(Span(trace, rnd.getrandbits(63) + 1, parent, random_start(rnd, t0),
                          rnd.choice([0, 1, 2, 3, 1024, 1025, rnd.randrange(10**rnd.randrange(1, 11))]),
                          root if not parent else rnd.choice(["x", "y"]), rnd.choice(KINDS),
                          rnd.choice(STATUSES), rnd.choice(["m1", "m2"]), random_attrs(rnd), root))
    return spans


def any_value(v):
    if isinstance(v, bool):
        return {"boolValue": v}
    return {"stringValue": v} if isinstance(v, str) else \
        {"doubleValue": v} if isinstance(v, float) else {"intValue": str(v)}


def otlp(s):
    span = {"traceId": f"{s.trace:032x}", "spanId": f"{s.id:016x}", "name": s.name,
            "kind": KINDS.index(s.kind), "startTimeUnixNano": str(s.start),
            "endTimeUnixNano": str(s.start + s.duration), "status": {"code": STATUSES.index(s.status)},
            "attributes": [{"key": k, "value": any_value(v)} for k, v in s.attrs.items()]}
    if s.parent:
        span["parentSpanId"] = f"{s.parent:016x}"
    service = {"key": "service.name", "value": {"stringValue": s.service}}
    return {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}


# --- what the queries' parts mean ---

def number(v):
    return v if isinstance(v, (int, float)) and not isinstance(v, bool) else None


def below(spans, above):
    """The descendants of those above."""
    found, ids = [], {s.id for s in above}
    for s in spans:  # parents come before children
        if s.parent in ids:
            found.append(s)
            ids.add(s.id)
    return found


def per_trace(fn):
    def run(spans):
        traces = collections.defaultdict(list)
        for s in spans:
            traces[s.trace].append(s)
        return [s for t in traces.values() for s in fn(t)]
    return run


def where(test):
    return lambda spans: [s for s in spans if test(s)]


MINE = 'resource.service.name =~ "m1|m2"'
FILTERS = [
    (f"{{ {MINE} }}", where(lambda s: True)),
    ("{ resource.service.name = `m1` }", where(lambda s: s.service == "m1")),
    (f"{{ {MINE} && span.n > 2 }}", where(lambda s: s.attrs.get("n", 0) > 2)),
    (f"{{ {MINE} && status = error && span.b = true }}",
     where(lambda s: s.status == "error" and s.attrs.get("b") is True)),
    (f"{{ {MINE} }} | {{ kind = client }}", where(lambda s: s.kind == "client")),
    (f"{{ {MINE} }} | by(kind) | {{ duration > 1us }}", where(lambda s: s.duration > 1000)),
    (f"{{ {MINE} && rootName = `r1` }}", where(lambda s: s.root == "r1")),
    (f"{{ {MINE} }} | count() > 3", per_trace(lambda t: t if len(t) > 3 else [])),
    (f"{{ {MINE} && nestedSetParent < 0 }}", where(lambda s: not s.parent)),
    (f"{{ {MINE} && kind = server }} >> {{ }}",
     per_trace(lambda t: below(t, [s for s in t if s.kind == "server"]))),
]
FIELDS = {
    "duration": lambda s: s.duration, "span.n": lambda s: s.attrs.get("n"),
    "span.f": lambda s: s.attrs.get("f"), "span.s": lambda s: s.attrs.get("s"),
}
LABELS = {
    "name": lambda s: {"stringValue": s.name}, "kind": lambda s: {"stringValue": s.kind},
    "status": lambda s: {"stringValue": s.status},
    "resource.service.name": lambda s: {"stringValue": s.service},
    "rootName": lambda s: {"stringValue": s.root},
    "span.s": lambda s: any_value(s.attrs.get("s", "nil")),
    "span.b": lambda s: any_value(s.attrs.get("b", "nil")),
    "span.n": lambda s: any_value(s.attrs.get("n", "nil")),
}


def bucket(v):
    return 1 << (v - 1).bit_length()


def quantile(q, values):
    """Contract 6.1, on buckets."""
    buckets = sorted(collections.Counter(bucket(v) for v in values).items())
    if not buckets:
        return 0
    n, t, low = max(1, math.ceil(q * len(values))), 0, None
    for most, count in buckets:
        if t + count == n:
            return most
        high = math.log2(most)
        if t + count > n:
            low = high - 1 if low is None else low
            return 2**(low + (high - low) * (n - t) / count)
        t, low = t + count, high


def aggregate(fn, values, seconds):
    if fn == "count_over_time":
        return len(values)
    if fn == "rate":
        return len(values) / seconds
    values = [v for v in values if v is not None]
    if not values:
        return None
    return {"min": min, "max": max, "sum": sum, "avg": lambda v: sum(v) / len(v)}[fn[:3]](values)


class Metric:
    """One function with its pipeline: its text and its series {labels: [a value or None per point]}."""

    def __init__(self, rnd):
        self.filter, self.find = rnd.choice(FILTERS)
        self.fn = rnd.choice(["rate", "count_over_time", "min_over_time", "max_over_time", "avg_over_time",
                              "sum_over_time", "quantile_over_time", "histogram_over_time"])
        self.by = rnd.sample(sorted(LABELS), rnd.choice([0, 0, 1, 1, 2, 3]))
        self.field = rnd.choice(sorted(FIELDS))
        self.quantiles = rnd.sample([0, 0.1, 0.5, 0.9, 0.99, 1], rnd.choice([1, 3]))
        args = "" if self.fn in ("rate", "count_over_time") else self.field
        if self.fn == "quantile_over_time":
            args += "".join(f", {q}" for q in self.quantiles)
        by = f" by ({', '.join(self.by)})" if self.by else ""
        self.text = f"{self.filter} | {self.fn}({args}){by}"

    def value(self, s):
        v = number(FIELDS[self.field](s))
        return v / NS if v is not None and self.field == "duration" else v

    def labels(self, s, more=()):
        at = sorted([*more, *((k, json.dumps(LABELS[k](s))) for k in self.by)])
        return tuple(at) or (("__name__", json.dumps({"stringValue": self.fn})),)

    def series(self, spans, points, step):
        mine = [[s for s in self.find(spans) if t - step < s.start <= t] for t in points]
        if self.fn in ("quantile_over_time", "histogram_over_time"):
            return self.histogram(mine)
        keys = {self.labels(s) for p in mine for s in p}
        if not self.by and self.fn in ("rate", "count_over_time"):
            keys.add(self.labels(None))
        found = {k: [aggregate(self.fn, [self.value(s) for s in p if self.labels(s) == k], step / NS)
                     for p in mine] for k in keys}
        return {k: v for k, v in found.items() if v != [None] * len(v)}

    def histogram(self, mine):
        get, scale = FIELDS[self.field], NS if self.field == "duration" else 1
        good = [[s for s in p if isinstance(get(s), int) and get(s) >= 2] for p in mine]
        if self.fn == "histogram_over_time":
            def key(s):
                return self.labels(s, [("__bucket", json.dumps({"doubleValue": bucket(get(s)) / scale}))])
            return {k: [sum(key(s) == k for s in p) for p in good] for k in {key(s) for p in good for s in p}}
        found = {}
        for q in self.quantiles:
            more = [("p", json.dumps({"doubleValue": float(q)}))]
            for k in {self.labels(s, more) for p in good for s in p}:
                found[k] = [quantile(q, [get(s) for s in p if self.labels(s, more) == k]) / scale
                            for p in good]
        return found


# --- what comes after ---

def text_of(value):
    return json.dumps(value[1]) if value[0] == "boolValue" else value[1]


def texts(labels, order):
    """To sort by: strings as they are, in the order of by()."""
    at = dict(labels)
    return [text_of(*json.loads(at[k]).items()) for k in order if k in at]


def rank(series, order, k, top):
    keys = sorted(series, key=lambda s: texts(s, order))
    for i in range(len(next(iter(series.values()), []))):
        there = [s for s in keys if series[s][i] is not None]
        if not top:
            there.reverse()
        there.sort(key=lambda s: series[s][i], reverse=top)
        for s in there[k:]:
            series[s][i] = None


def arithmetic(op, l, r):
    """None: no point. What is no number (infinity less infinity, or times 0) is none either."""
    if op == "/" and r == 0:
        return None
    value = {"+": lambda: l + r, "-": lambda: l - r, "*": lambda: l * r, "/": lambda: l / r}[op]()
    return None if math.isnan(value) else value


def plain(series):
    return len(series) == 1 and next(iter(series))[0][0] == "__name__"


def join(op, a, b, a_fn, b_fn):
    lead, found = (a if plain(b) else b), {}
    for k in lead:
        l = next(iter(a.values())) if plain(a) else a.get(k)
        r = next(iter(b.values())) if plain(b) else b.get(k)
        if l is None or r is None:
            continue
        if plain(a) and plain(b):
            k = (("__name__", json.dumps({"stringValue": f"({a_fn} {op} {b_fn})"})),)
        found[k] = [arithmetic(op, x or 0, y or 0) for x, y in zip(l, r)]
    return found


def random_query(rnd):
    """(text, function to its series)"""
    m, kind = Metric(rnd), rnd.choice(["alone"] * 3 + ["rank", "limit", "scalar", "join"])
    if kind == "rank" and m.fn not in ("histogram_over_time", "quantile_over_time"):
        k, top = rnd.choice([1, 2, 5]), rnd.random() < 0.5

        def ranked(*how):
            series = m.series(*how)
            rank(series, m.by, k, top)
            return series
        return f"{m.text} | {'topk' if top else 'bottomk'}({k})", ranked
    if kind == "limit":
        limit = rnd.choice([0, 0.5, 3])
        return f"{m.text} > {limit}", lambda *how: {
            k: [x if x is not None and x > limit else None for x in v] for k, v in m.series(*how).items()}
    op = rnd.choice("+-*/")
    if kind == "scalar":
        c, flip = rnd.choice([2, 0.5, 100]), rnd.random() < 0.3
        return f"{c} {op} ({m.text})" if flip else f"({m.text}) {op} {c}", lambda *how: {
            k: [x if x is None else arithmetic(op, c, x) if flip else arithmetic(op, x, c) for x in v]
            for k, v in m.series(*how).items()}
    if kind == "join":
        other = Metric(rnd)
        other.by = m.by if rnd.random() < 0.7 else []
        other.text = other.text.split(" by (")[0] if " by (" in other.text else other.text
        other.text += f" by ({', '.join(other.by)})" if other.by else ""
        return f"({m.text}) {op} ({other.text})", lambda *how: join(
            op, m.series(*how), other.series(*how), m.fn, other.fn)
    return m.text, m.series


# --- asking ---

def close(a, b):
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def answer_of(body, instant):
    found = {}
    for s in body["series"]:
        key = tuple(sorted((l["key"], json.dumps({k: float(v) if k == "doubleValue" else v
                                                  for k, v in l["value"].items()})) for l in s["labels"]))
        if key in found:
            raise AssertionError(f"the series {key} is there twice")
        samples = [{"timestampMs": 0, "value": s.get("value", 0)}] if instant else s["samples"]
        found[key] = {int(p["timestampMs"]): float(p.get("value", 0)) for p in samples}
    return found


def check(query, want, points, got):
    want = {k: {t: float(v) for t, v in zip(points, values) if v is not None} for k, values in want.items()}
    want = {k: v for k, v in want.items() if v}
    if set(want) != set(got):
        raise AssertionError(f"{query}: series missing {sorted(set(want) - set(got))[:3]} "
                             f"extra {sorted(set(got) - set(want))[:3]}")
    for k, values in want.items():
        if set(values) != set(got[k]) or not all(close(v, got[k][t]) for t, v in values.items()):
            raise AssertionError(f"{query}: {k}: want {values} got {got[k]}")


def random_range(rnd, t0):
    start = t0 * NS + rnd.randrange(-60 * NS, (SPAN_S - 10) * NS)
    end = start + rnd.choice([NS, 10 * NS, 60 * NS, rnd.randrange(1, SPAN_S * NS)])
    if rnd.random() < 0.5:
        start, end = start // NS * NS, end // NS * NS + NS
    return start, end


class Model:
    def __init__(self, ask, seed):
        self.ask, self.rnd = ask, random.Random(seed)
        self.t0 = int(time.time()) // 3600 * 3600 - 4 * 3600
        self.spans, self.seed = [], seed

    def push(self, post):
        number = 0
        while len(self.spans) < SPANS:
            number += 1
            self.spans += random_trace(self.rnd, self.t0, number)
        body = json.dumps({"resourceSpans": [otlp(s) for s in self.spans]}).encode()
        status, _, answer = post(body, "application/json")
        if status != 200:
            raise AssertionError(f"push: {status} {answer!r}")

    def get(self, path, **params):
        status, _, body = self.ask(path + "?" + urllib.parse.urlencode(params))
        if status != 200:
            raise AssertionError(f"{params}: {status} {body!r}")
        return json.loads(body)

    def all_there(self):
        body = self.get("/api/metrics/query", q=f"{FILTERS[0][0]} | count_over_time()",
                        start=self.t0 - 60, end=self.t0 + SPAN_S + 60)
        return body["series"][0].get("value") == len(self.spans)

    def range(self):
        query, series = random_query(self.rnd)
        start, end = random_range(self.rnd, self.t0)
        step = self.rnd.choice([NS, 7 * NS, 60 * NS, 300 * NS, NS // 2, self.rnd.randrange(NS, 100 * NS)])
        step = max(step, (end - start) // 40 // 10**6 * 10**6 + 10**6)
        points = range(start // step * step, (end + step - 1) // step * step + 1, step)
        body = self.get("/api/metrics/query_range", q=query, start=start, end=end, step=f"{step}ns")
        check(f"{query} {start} {end} {step}", series(self.spans, points, step),
              [t // 10**6 for t in points], answer_of(body, False))

    def instant(self):
        query, series = random_query(self.rnd)
        start, end = random_range(self.rnd, self.t0)
        body = self.get("/api/metrics/query", query=query, start=start, end=end)
        check(f"{query} {start} {end}", series(self.spans, [end], end - start), [0], answer_of(body, True))

    def compare(self):
        """Counts of some attributes, selected and not."""
        start, end = random_range(self.rnd, self.t0)
        body = self.get("/api/metrics/query", q=f"{FILTERS[0][0]} | compare({{ status = error }}, 1000)",
                        start=start, end=end)
        want = collections.Counter()
        for s in self.spans:
            if not start < s.start <= end:
                continue
            side = "selection" if s.status == "error" else "baseline"
            for k in ("kind", "name", "status", "resource.service.name", "rootName"):
                want[side, k, json.dumps(LABELS[k](s))] += 1
                want[side + "_total", k, json.dumps({"stringValue": "nil"})] += 1
            for k, v in s.attrs.items():
                value = json.dumps(any_value(v))
                want[side, "span." + k, value] += 1
                want[side + "_total", "span." + k, json.dumps({"stringValue": "nil"})] += 1
        got = {}
        for s in body["series"]:
            kind, value = s["labels"]
            v = {k: float(x) if k == "doubleValue" else x for k, x in value["value"].items()}
            got[kind["value"]["stringValue"], value["key"], json.dumps(v)] = s.get("value", 0)
        got = {k: v for k, v in got.items() if k[1] in {w[1] for w in want}}
        if got != want:
            raise AssertionError(f"compare {start} {end}: {sorted(set(got.items()) ^ set(want.items()))[:6]}")


def run(port):
    """(passed, failed); says what failed."""
    api, passed, failed = forms.Api(port), 0, 0
    model = Model(api.ask, int(os.environ.get("METRICS_SEED", time.time())))
    model.push(api.push)
    wait.until("the random spans", model.all_there)
    for i in range(QUERIES):
        try:
            (model.instant if i % 4 == 0 else model.compare if i % 50 == 1 else model.range)()
            passed += 1
        except (AssertionError, LookupError, ValueError) as e:
            failed += 1
            print(f"FAIL metrics_model (METRICS_SEED={model.seed}) :: {type(e).__name__}: {e}")
    return passed, failed
