# SPDX-License-Identifier: Apache-2.0
"""Much, hostile and at once: what a question may cost, and that an answer or a sentence always comes.

Every function stress_* is one test against one server (capture off) whose peak of memory is measured
at the end. Bounds are in counts, ratios and bytes of the request's own limits; seconds stand only where
they tell "ends" from "hangs".
"""

import collections
import gzip
import http.client
import json
import re
import socket
import struct
import threading
import time
import urllib.parse

import otlp
import replay
import wait
from collector import Collector
from forms import Api, equal

PROTOBUF = "application/x-protobuf"
BASE = int(time.time()) - 60
LARGE, LARGE_CNT = "1a" * 16, 100_000
HANGS = 45  # seconds; a query may take 30 before it is ended
# A query has 256 MiB for what it keeps and as much for the trace at hand.
PEAK_MAX = 1400 << 20


def span(n, trace, parent=0, **more):
    start = BASE * 10**9 + n * 1000
    return {"traceId": trace, "spanId": f"{n:016x}", "parentSpanId": f"{parent:016x}" if parent else "",
            "name": f"span {n % 10}", "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 10**6), **more}


def push(api, spans, service="large"):
    body = gzip.compress(otlp.protobuf(otlp.request(spans, [otlp.text("service.name", service)])), 1)
    equal(api.push(body, PROTOBUF, Content_Encoding="gzip")[0], 200)


def target(q, **more):
    return "/api/search?" + urllib.parse.urlencode({"q": q, "start": BASE - 600, "end": BASE + 600, **more})


def search(api, q, **more):
    status, _, body = api.ask(target(q, **more))
    if status != 200:
        raise AssertionError(f"{q[:80]}: {status} {body[:200]}")
    return json.loads(body)["traces"]


def fields(message):
    out = collections.defaultdict(list)
    for n, _, v in replay.fields(message):
        out[n].append(v)
    return out


# --- questions that are too long or too deep ---

def stress_query_of_a_mebibyte(api):
    """More than a request's head may have: refused, and the server goes on."""
    status = api.ask("/api/search?q=" + "%20" * (1 << 20))[0]
    if status not in (400, 414, 431):
        raise AssertionError(status)
    equal(api.ask("/api/echo")[0], 200)


def stress_long_query(api):
    """30 KiB of it are fine; so many operators are not, and the sentence says so."""
    equal(search(api, "{ " + " " * 30000 + "false }"), [])
    equal(search(api, "{ false } // " + "x" * 30000), [])
    for q in ("{ .a = 1" + " || .a=1" * 3000 + " }", "{}" + " >> {}" * 3000, "{} | {}" + "|{}" * 6000):
        status, _, body = api.ask(target(q))
        equal(status, 400)
        if not re.search(rb"too many|too deeply", body):
            raise AssertionError(body[:200])


def stress_nested_parentheses(api):
    for q in ("{ " + "(" * 10000 + "true" + ")" * 10000 + " }", "(" * 10000 + "{}" + ")" * 10000,
              "{ " + "!" * 10000 + "true }", "{ " + "-" * 10000 + "1 = 1 }", "{ .a = 1" + " ^ 1" * 5000 + " }",
              "(" * 10000, "{ " + "(" * 10000):
        status, _, body = api.ask(target(q))
        equal((q[:12], status, re.search(rb"line 1, col \d+: (nested too deeply|too many operators)", body) is not None),
              (q[:12], 400, True))


# --- regular expressions that explode ---

def stress_hostile_regex(api):
    """An answer or a sentence, and the clock does not run away."""
    text = "a" * 5000 + "!"
    push(api, [span(n, f"{0x5000 + n:032x}", attributes=[otlp.text("hostile", text)]) for n in range(1, 201)], "regex")
    wait.until("the texts", lambda: len(search(api, "{ span.hostile != nil }", limit=1000)) == 200)
    for pattern in ("(a+)+", "(a|aa)+b", "(a*)*(a*)*(a*)*(a*)*b", "(.*)*x", "(a?){1000}a{1000}b", "([a-z]+)*=",
                    "(x+x+)+y", ".*.*.*.*.*.*=.*", "(?i)(a|A|b)*c"):
        began = time.monotonic()
        status, _, body = api.ask(target("{ span.hostile =~ `" + pattern + "` }"))
        if time.monotonic() - began > HANGS or status not in (200, 400, 504):
            raise AssertionError(f"{pattern}: {status} after {time.monotonic() - began:.0f} s: {body[:100]}")
        if status != 200 and b" " not in body:
            raise AssertionError(f"{pattern}: no sentence: {body!r}")


# --- one trace of 100,000 spans: a root, 999 children, 99 grandchildren each ---

def parent(n):
    return 0 if n == 1 else 1 if n <= 1000 else 2 + (n - 1001) // 100


def stress_1_large_trace(api):
    for first in range(1, LARGE_CNT + 1, 20_000):
        push(api, [span(n, LARGE, parent(n), kind=2 if n == 1 else 1) for n in range(first, first + 20_000)])

    def all_there():
        found = search(api, "{ resource.service.name = `large` }", spss=1)
        return found and found[0]["spanSet"]["matched"] == LARGE_CNT

    wait.until("all spans", all_there, 60)


def stress_2_large_trace_by_id(api):
    status, _, body = api.ask(f"/api/v2/traces/{LARGE}")
    equal(status, 200)
    spans = [s for rs in json.loads(body)["trace"]["resourceSpans"] for ss in rs["scopeSpans"] for s in ss["spans"]]
    equal((len(spans), len({s["spanId"] for s in spans})), (LARGE_CNT, LARGE_CNT))
    status, _, body = api.ask(f"/api/v2/traces/{LARGE}", Accept="application/protobuf")
    trace = fields(fields(body)[1][0])
    ids = {fields(s)[2][0] for rs in trace[1] for ss in fields(rs)[2] for s in fields(ss)[2]}
    equal((status, len(ids)), (200, LARGE_CNT))


def stress_3_large_trace_search(api):
    """What structural operators must find is arithmetic: 1 root, 999 children, 99,000 below them."""
    below = LARGE_CNT - 1000
    for q, matched in [("{ nestedSetParent < 0 }", 1), ("{ nestedSetParent < 0 } > { }", 999),
                       ("{ kind = server } >> { }", LARGE_CNT - 1), ("{ } > { }", LARGE_CNT - 1),
                       ("{ kind = server } > { } > { }", below), ("{ span:childCount = 0 }", LARGE_CNT - 991),
                       ("{ } !>> { }", 1), ("{ span:childCount = 0 } << { span:childCount = 100 }", 990),
                       ("{ } ~ { }", LARGE_CNT - 1), ("{ } &>> { }", LARGE_CNT), ("{ } | count() = 100000", LARGE_CNT),
                       ("{ name = `span 3` } && { name = `span 4` }", 20_000)]:
        q = "{ resource.service.name = `large` && trace:id = `" + LARGE + "` } | " + q
        found = search(api, q)
        equal((q, [[ss["matched"] for ss in t["spanSets"]] for t in found]), (q, [[matched]]))
    groups = search(api, "{ resource.service.name = `large` } | by(name)")[0]["spanSets"]
    equal([g["matched"] for g in groups], [LARGE_CNT // 10] * 10)


# --- no root ---

def stress_trace_without_root(api):
    """Its parent is on another node: relations hold below what is missing, and nothing is a root."""
    a, b, c = (0xA1, 0xA2, 0xA3)
    trace = "2b" * 16
    push(api, [span(a, trace, 0xFFFF), span(b, trace, a), span(c, trace, b), span(0xB1, trace, 0xFFFF)], "orphans")
    ours = "{ resource.service.name = `orphans` } | "
    wait.until("the spans", lambda: search(api, ours + "{ }"))
    t = search(api, ours + "{ }")[0]
    equal((t["rootServiceName"], "rootTraceName" in t), ("<root span not yet received>", False))
    for q, want in [("{ } > { }", [b, c]), ("{ } >> { span:id = `00000000000000a3` }", [c]),
                    ("{ nestedSetParent < 0 }", []), ("{ nestedSetParent = 0 }", [a, 0xB1]),
                    ("{ } ~ { }", [a, 0xB1]), ("{ } !> { }", [a, 0xB1]), ("{ } < { }", [a, b]),
                    ("{ rootName = `` && rootServiceName = `` }", [a, b, c, 0xB1]), ("{ span:childCount = 1 }", [a, b])]:
        got = [int(s["spanID"], 16) for t in search(api, ours + q, spss=100) for s in t["spanSet"]["spans"]]
        equal((q, sorted(got)), (q, sorted(want)))
    for path in (f"/api/traces/{trace}", f"/api/v2/traces/{trace}"):
        body = json.loads(api.ask(path)[2])
        spans = [s for rs in body.get("batches") or body["trace"]["resourceSpans"] for ss in rs["scopeSpans"]
                 for s in ss["spans"]]
        equal(len(spans), 4)


# --- many at once ---

CHEAP = ["/api/echo", "/api/v2/search/tag/status/values", "/api/v2/traces/2b", target("{ name = `none` }", limit=1)]
def heavy(stages):
    """A question that computes -(-(..1)) for each of the 100,000 spans, so many times 450."""
    more = ("|{" + "-" * 450 + "1!=0}") * stages  # as short as it can be in a URI
    return target("{ resource.service.name = `large` }QQ").replace("QQ", urllib.parse.quote(more, safe="-!="))


class Client(threading.Thread):
    """Asks in turns until told to end; what came back, and how long each took."""

    def __init__(self, port, targets, end):
        super().__init__()
        self.api, self.targets, self.end = Api(port), targets, end
        self.api.seconds = 2 * HANGS
        self.took, self.statuses = [], collections.Counter()

    def run(self):
        n = 0
        while not self.end.is_set():
            began = time.monotonic()
            try:
                self.statuses[self.api.ask(self.targets[n % len(self.targets)])[0]] += 1
            except (OSError, http.client.HTTPException) as e:
                self.statuses[type(e).__name__] += 1
            self.took.append(time.monotonic() - began)
            n += 1


def stress_many_at_once(api):
    """26 ask cheap things and 6 dear ones while spans come in: all are answered, and of the cheap ones
    none waits for a dear one to end."""
    end = threading.Event()
    dear = [Client(api.port, [heavy(1)], end) for _ in range(6)]
    cheap = [Client(api.port, CHEAP[n % 4:] + CHEAP[:n % 4], end) for n in range(26)]
    for c in dear + cheap:
        c.start()
    began, pushed = time.monotonic(), 0
    while time.monotonic() - began < 8:
        push(api, [span(n, f"{pushed + n:032x}") for n in range(1, 501)], "meanwhile")
        pushed += 500
    end.set()
    for c in dear + cheap:
        c.join(HANGS * 2)
    statuses = sum((c.statuses for c in dear + cheap), collections.Counter())
    equal(set(statuses), {200})
    if not pushed or not all(c.took for c in dear + cheap):
        raise AssertionError("somebody was never answered")
    times = sorted(x for c in cheap for x in c.took)
    median, slowest = times[len(times) // 2], times[-1]
    least = min(len(c.took) for c in cheap)
    mean = len(times) / len(cheap)
    dearest = max(x for c in dear for x in c.took)
    print(f"many at once: {len(times)} cheap answers, median {median * 1e3:.1f} ms, slowest {slowest * 1e3:.0f} ms; "
          f"least {least} of a client, mean {mean:.0f}; {sum(len(c.took) for c in dear)} dear ones, slowest "
          f"{dearest * 1e3:.0f} ms; {pushed} spans meanwhile")
    if slowest > max(100 * median, 2):
        raise AssertionError(f"the slowest cheap answer took {slowest:.2f} s, the median one {median:.4f} s")
    if least < mean / 5:
        raise AssertionError(f"one client had {least} answers, the mean is {mean:.0f}")


# --- the client goes away ---

def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        rest = f.read().rpartition(")")[2].split()
    return (int(rest[11]) + int(rest[12])) / 100


def stress_client_goes_away(api):
    """A query of a minute is begun and left: the server stops working for it."""
    begun = []
    for _ in range(2):
        s = socket.create_connection(("127.0.0.1", api.port))
        s.sendall(f"GET {heavy(100)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        begun.append(s)
    before = cpu_seconds(api.pid)
    wait.until("it works on them", lambda: cpu_seconds(api.pid) - before > 0.5, 10)
    for s in begun:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def at_rest():
        now = cpu_seconds(api.pid)
        time.sleep(0.5)
        return cpu_seconds(api.pid) - now <= 0.05

    left = time.monotonic()
    wait.until("it stops", at_rest, 10)
    print(f"client gone: at rest {time.monotonic() - left:.1f} s later")


def stress_too_much_is_a_sentence(api):
    """The same with somebody who waits: it ends by itself, with a status and a sentence."""
    began = time.monotonic()
    status, headers, body = api.ask(heavy(100))
    if status not in (400, 504) or not re.search(rb"narrow the time range", body):
        raise AssertionError(f"{status} {body[:200]}")
    equal(headers["content-type"], "text/plain; charset=utf-8")
    if time.monotonic() - began > HANGS:
        raise AssertionError(f"after {time.monotonic() - began:.0f} s only")


def peak(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024


def run(folder):
    """(passed, failed); says what failed."""
    passed, failed = 0, 0
    with Collector(folder, "--capture", "off") as collector:
        api = Api(collector.port)
        api.pid, api.seconds = collector.pid, 2 * HANGS
        for name, test in sorted(globals().items()):
            if not name.startswith("stress_"):
                continue
            try:
                test(api)
                passed += 1
            except (AssertionError, LookupError, OSError, ValueError, TypeError, wait.TimedOut,
                    http.client.HTTPException) as e:
                failed += 1
                print(f"FAIL {name} :: {type(e).__name__}: {str(e)[:500]}")
        most = peak(collector.pid)
        print(f"peak of memory: {most >> 20} MiB")
        ok = most <= PEAK_MAX
        if not ok:
            print(f"FAIL peak of memory is above {PEAK_MAX >> 20} MiB")
    return passed + ok, failed + (not ok)
