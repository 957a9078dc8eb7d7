# SPDX-License-Identifier: Apache-2.0
"""TraceQL against a model: random queries over the data set, answered here by sets of Python objects.

The model follows the contract's words (which spans an operator leaves, from the left, with equal
precedence) and shares nothing with query/. Traces without a root are left out on both sides, as what
relations mean in them is Wirespan's own (README), and so are those of more than 100 spans, since an
answer lists no more. Prints the seed when something differs.
"""

import collections
import json
import os
import random
import re
import time
import urllib.parse

import wait
from collector import Collector
from forms import Api

HERE = os.path.dirname(os.path.abspath(__file__))
QUERIES = int(os.environ.get("MODEL_QUERIES", "400"))
SEED = int(os.environ.get("MODEL_SEED", "1"))
BASE = int(time.time()) - 120


def value(v):
    kind, x = next(iter(v.items()), (None, None))
    if kind == "intValue":
        return int(x)
    if kind in ("stringValue", "boolValue"):
        return x
    return float(x) if kind == "doubleValue" else None  # others are not asked for here


class Span:
    def __init__(self, raw, resource):
        self.id, self.parent = raw["spanId"], raw.get("parentSpanId", "")
        self.name, self.kind = raw["name"], raw.get("kind", 0)
        self.status = raw.get("status", {}).get("code", 0)
        self.start, self.end = int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"])
        self.duration = self.end - self.start
        self.attrs = {a["key"]: value(a["value"]) for a in raw.get("attributes", [])}
        self.resource = resource
        self.service = resource.get("service.name", "")


class Trace:
    def __init__(self, spans):
        self.spans = spans
        ids = {s.id: s for s in spans}
        self.parent = {s: ids.get(s.parent) for s in spans}
        self.fit = (len(ids) == len(spans) <= 100 and sum(not s.parent for s in spans) == 1 and
                    all(self.top(s) for s in spans))
        self.children = collections.Counter(p for p in self.parent.values() if p)

    def top(self, s):
        for _ in self.spans:
            if not s.parent:
                return True
            s = self.parent[s]
            if s is None:
                break
        return s is not None and not s.parent

    def ancestors(self, s):
        while self.parent[s]:
            s = self.parent[s]
            yield s


# relation(trace, a, b): b stands in it to a, as in { a } op { b }
RELATIONS = {
    ">": lambda t, a, b: t.parent[b] is a,
    ">>": lambda t, a, b: a in set(t.ancestors(b)),
    "<": lambda t, a, b: t.parent[a] is b,
    "<<": lambda t, a, b: b in set(t.ancestors(a)),
    "~": lambda t, a, b: a is not b and t.parent[a] is t.parent[b],
}


def operate(t, op, left, right):
    if op in ("&&", "||"):
        return left | right if op == "||" or (left and right) else set()
    rel = RELATIONS[op.lstrip("!&")]
    hit = {b for b in right if any(rel(t, a, b) for a in left)}
    if op[0] == "!":
        return right - hit
    return hit | {a for a in left if any(rel(t, a, b) for b in right)} if op[0] == "&" else hit


def compare(get, op, x):
    """Missing, or of another type: false, whatever the operator."""
    number = (int, float)

    def holds(t, s):
        v = get(t, s)
        if isinstance(v, bool) or isinstance(x, bool):
            if not (isinstance(v, bool) and isinstance(x, bool)):
                return False
        elif not (type(v) is type(x) or (isinstance(v, number) and isinstance(x, number))):
            return False
        if op in ("=~", "!~"):
            return (re.fullmatch(x, v, re.S) is not None) == (op == "=~")
        return {"=": v == x, "!=": v != x, "<": v < x, "<=": v <= x, ">": v > x, ">=": v >= x}[op]
    return holds


FIELDS = {
    "name": lambda t, s: s.name,
    "span:name": lambda t, s: s.name,
    "rootName": lambda t, s: next(r.name for r in t.spans if not r.parent),
    "trace:rootService": lambda t, s: next(r.service for r in t.spans if not r.parent),
    "resource.service.name": lambda t, s: s.service,
    "span:childCount": lambda t, s: t.children[s],
    "duration": lambda t, s: s.duration,
    "traceDuration": lambda t, s: max(x.end for x in t.spans) - min(x.start for x in t.spans),
    "span.http.response.status_code": lambda t, s: s.attrs.get("http.response.status_code"),
    ".http.request.method": lambda t, s: s.attrs.get("http.request.method"),
    ".k8s.container.name": lambda t, s: s.resource.get("k8s.container.name"),
    "span.db.response.returned_rows": lambda t, s: s.attrs.get("db.response.returned_rows"),
    "resource.process.pid": lambda t, s: s.resource.get("process.pid"),
    'span."server.port"': lambda t, s: s.attrs.get("server.port"),
}
KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
STATUSES = ["unset", "ok", "error"]
DURATIONS = [("1ms", 10**6), ("10ms", 10**7), ("0.05s", 5 * 10**7), ("1s", 10**9), ("100us", 10**5), ("1m", 6 * 10**10)]


class Maker:
    """Random queries, each with the function that answers it."""

    def __init__(self, rnd, traces):
        self.rnd, self.traces = rnd, traces

    def comparison(self):
        kind = self.rnd.randrange(8)
        if kind == 0:
            i, op = self.rnd.randrange(6), self.rnd.choice(["=", "!="])
            return f"kind {op} {KINDS[i]}", compare(lambda t, s: s.kind, op, i)
        if kind == 1:
            i, op = self.rnd.randrange(3), self.rnd.choice(["=", "!="])
            return f"span:status {op} {STATUSES[i]}", compare(lambda t, s: s.status, op, i)
        name, get = self.rnd.choice(sorted(FIELDS.items()))
        if kind == 2 and "." in name and "service.name" not in name:
            op = self.rnd.choice(["=", "!="])
            return f"{name} {op} nil", lambda t, s: (get(t, s) is None) == (op == "=")
        if "uration" in name:
            text, ns = self.rnd.choice(DURATIONS)
            op = self.rnd.choice(["=", "!=", "<", "<=", ">", ">="])
            return f"{name} {op} {text}", compare(get, op, ns)
        t = self.rnd.choice(self.traces)
        sample = get(t, self.rnd.choice(t.spans))
        if isinstance(sample, str):
            op = self.rnd.choice(["=", "!=", "<", ">", "<=", ">=", "=~", "!~"])
            if op[-1] == "~":
                cut = sample[:self.rnd.randrange(len(sample) + 1)]
                sample = re.escape(cut).replace("\\ ", " ").replace("\\/", "/") + ".*"
            return f"{name} {op} {json.dumps(sample, ensure_ascii=False)}", compare(get, op, sample)
        x = sample if isinstance(sample, int) else self.rnd.choice([0, 200, 500, 8080])
        op = self.rnd.choice(["=", "!=", "<", "<=", ">", ">="])
        return f"{name} {op} {x}", compare(get, op, x)

    def condition(self, depth=0):
        if depth == 2 or self.rnd.random() < 0.55:
            return self.comparison()
        (a, f), (b, g) = self.condition(depth + 1), self.condition(depth + 1)
        if self.rnd.random() < 0.5:
            return f"({a}) && ({b})", lambda t, s: f(t, s) and g(t, s)
        return f"({a}) || ({b})", lambda t, s: f(t, s) or g(t, s)

    def filter(self):
        if self.rnd.random() < 0.12:
            text, yes = self.rnd.choice([("{ }", True), ("{ true }", True), ("{ false }", False)])
            return text, lambda t, spans: set(spans) if yes else set()
        text, f = self.condition()
        return "{ " + text + " }", lambda t, spans: {s for s in spans if f(t, s)}

    def operator(self):
        rel = self.rnd.choice(sorted(RELATIONS))
        return self.rnd.choice(["&&", "||", rel, rel, "!" + rel, "&" + rel])

    def chain(self):
        """f op f op f: relations before && and ||, each from the left."""
        parts, ops = [self.operand()], []
        for _ in range(self.rnd.choice([0, 1, 1, 2, 3])):
            ops.append(self.operator())
            parts.append(self.operand())

        def answer(t, spans):
            sets, todo = [parts[0][1](t, spans)], []
            for op, (_, f) in zip(ops, parts[1:]):
                r = f(t, spans)
                if op in ("&&", "||"):
                    todo.append(op)
                    sets.append(r)
                else:
                    sets[-1] = operate(t, op, sets[-1], r)
            out = sets[0]
            for op, r in zip(todo, sets[1:]):
                out = operate(t, op, out, r)
            return out
        text = parts[0][0] + "".join(f" {op} {p[0]}" for op, p in zip(ops, parts[1:]))
        return text, answer

    def operand(self):
        if self.rnd.random() < 0.85:
            return self.filter()
        (a, f), (b, g), op = self.filter(), self.filter(), self.operator()
        return f"({a} {op} {b})", lambda t, spans: operate(t, op, f(t, spans), g(t, spans))

    def aggregate(self):
        """Of one set: keep it?"""
        op = self.rnd.choice(["=", "!=", "<", "<=", ">", ">="])
        if self.rnd.random() < 0.4:
            n = self.rnd.randrange(8)
            test = compare(lambda t, spans: len(spans), op, n)
            return f"count() {op} {n}", test
        fn = self.rnd.choice(["min", "max", "sum", "avg"])
        name, scale = self.rnd.choice([("duration", 1), ("span.http.response.status_code", 1),
                                       ("duration * 2", 2), ("span:childCount", 1)])
        get = FIELDS[name.split(" ")[0]]

        def folded(t, spans):
            vs = [get(t, s) * scale for s in spans if isinstance(get(t, s), (int, float))]
            if not vs:
                return None
            if fn == "avg":
                mean = sum(vs) / len(vs)
                return int(mean) if name.startswith("duration") else mean
            return {"min": min, "max": max, "sum": sum}[fn](vs)
        if name.startswith("duration"):
            text, x = self.rnd.choice(DURATIONS)
        else:
            x = self.rnd.choice([0, 1, 2, 200, 404, 500])
            text = str(x)
        return f"{fn}({name}) {op} {text}", compare(folded, op, x)

    def query(self):
        """(text, answer: trace -> list of sets)"""
        text, f = self.chain()
        stages = []
        for _ in range(self.rnd.choice([0, 0, 1, 1, 2, 3])):
            stages.append(self.rnd.choice([self.by, self.scalar, self.more, self.coalesce, self.select])())

        def answer(t):
            found = f(t, t.spans)
            sets = [found] if found else []
            for _, stage in stages:
                sets = stage(t, sets)
            return sets
        return " | ".join([text, *(s for s, _ in stages)]), answer

    def by(self):
        name, get = self.rnd.choice([(n, g) for n, g in sorted(FIELDS.items()) if "uration" not in n])

        def stage(t, sets):
            out = []
            for spans in sets:
                groups = collections.defaultdict(set)
                for s in spans:
                    groups[get(t, s)].add(s)
                out += groups.values()
            return out
        return f"by({name})", stage

    def scalar(self):
        text, test = self.aggregate()
        return text, lambda t, sets: [s for s in sets if test(t, s)]

    def more(self):
        text, f = self.chain()
        return text, lambda t, sets: [r for r in (f(t, s) for s in sets) if r]

    def coalesce(self):
        return "coalesce()", lambda t, sets: [set().union(*sets)] if sets else []

    def select(self):
        return f"select({', '.join(self.rnd.sample(sorted(FIELDS), 2))})", lambda t, sets: sets


def load():
    """The data set, moved to a minute ago, and the requests to push."""
    with open(os.path.join(HERE, "dataset.json"), encoding="utf-8") as f:
        text = re.sub(r'"@(-?\d+)"', lambda m: f'"{BASE * 10**9 + int(m[1])}"', f.read())
    data = json.loads(text)
    docs = data if isinstance(data, list) else [data]
    traces = collections.defaultdict(list)
    for doc in docs:
        for rs in doc["resourceSpans"]:
            resource = {a["key"]: value(a["value"]) for a in rs["resource"].get("attributes", [])}
            for ss in rs["scopeSpans"]:
                for raw in ss["spans"]:
                    traces[raw["traceId"]].append(Span(raw, resource))
    return docs, {i: Trace(spans) for i, spans in traces.items()}


def ask(api, q):
    target = "/api/search?" + urllib.parse.urlencode(
        {"q": q, "limit": 1000, "spss": 100, "start": BASE - 7200, "end": BASE + 7200})
    status, _, body = api.ask(target)
    if status != 200:
        raise AssertionError(f"{status} {body.decode()}")
    return json.loads(body)["traces"]


def shape(sets):
    return sorted(sorted(s) for s in sets)


def one(api, traces, q, answer):
    want = {}
    for i, t in traces.items():
        if t.fit:
            sets = [[s.id for s in spans] for spans in answer(t)]
            if sets:
                want[i] = shape(sets)
    got = {}
    for t in ask(api, q):
        i = t["traceID"].rjust(32, "0")
        if traces[i].fit:
            got[i] = shape([s["spanID"] for s in ss["spans"]] for ss in t["spanSets"])
            if [len(ss["spans"]) for ss in t["spanSets"]] != [ss["matched"] for ss in t["spanSets"]]:
                raise AssertionError(f"matched: {t}")
    if got != want:
        i = next(i for i in traces if got.get(i) != want.get(i))
        raise AssertionError(f"trace {i}: got {got.get(i)}, want {want.get(i)}")


def run(folder):
    """(passed, failed); says what failed."""
    docs, traces = load()
    fit = [t for t in traces.values() if t.fit and len(t.spans) > 1]
    passed, failed = 0, 0
    with Collector(folder, "--capture", "off") as collector:
        api = Api(collector.port)
        for doc in docs:
            if api.push(json.dumps(doc).encode(), "application/json")[0] != 200:
                raise AssertionError("the data set was not taken")
        wait.until("all traces", lambda: len(ask(api, "{}")) == len(traces))
        maker = Maker(random.Random(SEED), fit)
        for _ in range(QUERIES):
            q, answer = maker.query()
            try:
                one(api, traces, q, answer)
                passed += 1
            except (AssertionError, LookupError) as e:
                failed += 1
                print(f"FAIL model (seed {SEED}) {q} :: {str(e)[:600]}")
    return passed, failed
