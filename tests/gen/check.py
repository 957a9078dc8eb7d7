#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plays random exchanges with gen while a collector looks on, and compares its spans with the truth
one to one: missing, doubled, a wrong field, not joined, out of order; and what was counted as lost.

A run is a series of rounds, each a run of gen with its own truth, all seen by one collector. Ends with
`N passed, N failed`: an exchange passes when both its spans do.
"""

import argparse
import collections
import copy
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import measure  # noqa: E402
import wait  # noqa: E402
from collector import Collector  # noqa: E402
from truth import UNCHECKED, expected, key_of_span, key_of_truth  # noqa: E402

ROUND_MAX, SHOWN_MAX, SHOWN_LEN, ARRIVE_SECONDS, GIVEN_UP_SECONDS = 10000, 30, 160, 60, 10
MIX_FROM, PIPELINED_MIN, SPLIT_MIN = 1000, 30, 20  # per cent
JUDGED_CONNS = 40


# --- one span ---

def short(value):
    text = repr(value)
    return text if len(text) <= SHOWN_LEN else text[:SHOWN_LEN] + "…"


def field_faults(t, s, conn):
    want = expected(t, conn, s.attrs.get("network.peer.address", ""))
    for key in sorted(want.keys() | s.attrs.keys()):
        if key in UNCHECKED or ("operation" not in t and key.startswith("db.operation")) or (
                "operation" not in t and key == "db.collection.name"):
            continue
        if not want.get(key) == s.attrs.get(key):
            yield f"{key} is {short(s.attrs.get(key))}, not {short(want.get(key))}"
    status = "ERROR" if s.attrs.get("error.type") else "UNSET"
    if s.status != status:
        yield f"status is {s.status}, not {status}"


def parent_faults(t, client, server):
    if client.parent != t.get("parent", ""):
        yield f"client's parent is '{client.parent}', not '{t.get('parent', '')}'"
    if "trace" in t and client.trace_id != t["trace"]:
        yield f"client's trace is {client.trace_id}, not {t['trace']}"
    if server.trace_id != client.trace_id:
        yield "not joined: client and server are in two traces"
    elif server.parent != client.id:
        yield f"server's parent is '{server.parent}', not the client's span '{client.id}'"
    if server.start < client.start or (server.end > client.end and not t.get("aborted")):
        yield (f"server outside client in time (starts {server.start - client.start:+d} ns, ends "
               f"{server.end - client.end:+d} ns)")


def first_byte(s):
    after = s.attrs.get("wirespan.first_byte_ns")
    return None if after is None else s.start + after


# --- matching ---

class Pair:
    """What was seen of one exchange: {side: span}."""

    def __init__(self, *spans):
        self.spans = {s.kind: s for s in spans}

    def when(self):
        """Neither side's times go back, so what one side saw at the same moment the other tells."""
        client, server = (self.spans.get(side) for side in ("CLIENT", "SERVER"))
        client, server = client or server, server or client
        return (client.end, server.end, client.start, server.start, first_byte(client) or 0,
                first_byte(server) or 0)

    def fits(self, truths, conn):
        return all(side in self.spans and not next(field_faults(t, self.spans[side], conn), None)
                   for side, t in truths.items())


def pairs_of(spans):
    """Spans that name each other belong together; others stand alone."""
    servers = {(s.trace_id, s.parent): s for s in spans if s.kind == "SERVER"}
    out, used = [], set()
    for s in spans:
        if s.kind != "CLIENT":
            continue
        server = servers.get((s.trace_id, s.id))
        out.append(Pair(s, server) if server else Pair(s))
        used |= {id(s), id(server)}
    out += [Pair(s) for s in spans if id(s) not in used]
    return sorted(out, key=Pair.when)


def complete(pair, pairs):
    """An end that is not joined to the other one is still compared with the truth."""
    for side in {"CLIENT", "SERVER"} - pair.spans.keys():
        other = next((p for p in pairs if p.spans.keys() == {side}), None)
        if other:
            pairs.remove(other)
            pair.spans[side] = other.spans[side]


def assign(exchanges, spans):
    """[(exchange, {side: span})] and the spans that are left over. An exchange: (order, conn, {side:
    truth}). Repetitions of one text are told apart by their order, and where they began and ended at
    the same moments by what they say."""
    pairs, out = pairs_of(spans), []
    for x in sorted(exchanges, key=lambda x: x[0]):
        best = next((p for p in pairs if p.fits(x[2], x[1])), pairs[0] if pairs else None)
        if best:
            pairs.remove(best)
            complete(best, pairs)
        out.append((x, best.spans if best else {}))
    return out, [s for p in pairs for s in p.spans.values()]


def order_faults(line):
    """Along a connection's side: starts, first bytes and ends must not go back."""
    last = {}
    for t, s in sorted(line, key=lambda p: p[0]["order"]):
        for what, ns in (("start", s.start), ("first byte", first_byte(s)), ("end", s.end)):
            if ns is None:
                continue
            if ns < last.get(what, (0,))[0]:
                yield t, f"its {what} is before that of order {last[what][1]}"
            last[what] = (ns, t["order"])


class Round:
    """One run of gen: the truth, the spans, the faults."""

    def __init__(self, lines):
        self.conns, self.truths, self.lost = {}, [], collections.Counter()
        self.faults = []  # (round, conn, order, side, protocol, sentence)
        for line in lines:
            self.take(line)

    def take(self, t):
        if "lost" in t:
            self.lost[t["lost"]] += t["count"]
        elif "side" in t:
            self.truths.append(t)
        else:
            self.conns[t["conn"]] = t

    def fault(self, t, sentence):
        self.faults.append((t["round"], t["conn"], t["order"], t["side"], t["protocol"], sentence))

    def exchanges(self):
        """{key: [(order, ports, {side: truth})]}"""
        sides = collections.defaultdict(dict)
        for t in self.truths:
            sides[t["conn"], t["order"]][t["side"]] = t
        out = collections.defaultdict(list)
        for (conn, order), truths in sides.items():
            out[key_of_truth(truths["CLIENT"])].append((order, self.conns[conn], truths))
        return out

    def compare(self, spans):
        """The spans that nobody asked for; faults go to self.faults."""
        by_key = collections.defaultdict(list)
        for s in spans:
            by_key[key_of_span(s)].append(s)
        found, strange = [], []
        for key, exchanges in self.exchanges().items():
            pairs, left = assign(exchanges, by_key.pop(key, []))
            found += pairs
            strange += left
        self.judge(found)
        return strange + [s for rest in by_key.values() for s in rest]

    def judge(self, found):
        lines = collections.defaultdict(list)
        for (_, conn, truths), spans in found:
            for side, t in truths.items():
                if side not in spans:
                    self.fault(t, "missing")
                    continue
                for sentence in field_faults(t, spans[side], conn):
                    self.fault(t, sentence)
                lines[t["conn"], side].append((t, spans[side]))
            if len(spans) == 2:
                for sentence in parent_faults(truths["CLIENT"], spans["CLIENT"], spans["SERVER"]):
                    self.fault(truths["CLIENT"], sentence)
        for line in lines.values():
            for t, sentence in order_faults(line):
                self.fault(t, sentence)


# --- the judge is judged ---

def change(key, value):
    def damage(spans, s):
        s.attrs[key] = value
    return damage


def drop(spans, s):
    spans.remove(s)


def double(spans, s):
    spans.append(copy.copy(s))


def orphan(spans, s):
    s.parent = ""


def stray(spans, s):
    s.trace_id = s.trace_id[::-1]


def before_all(spans, s):
    s.start = s.start - 10**12


def after_all(spans, s):
    s.end = s.end + 10**12


# What is damaged, in a span that has such an attribute.
DAMAGES = [
    ("http.response.status_code", change("http.response.status_code", 299)),
    ("http.request.body.size", change("http.request.body.size", 7777777)),
    ("http.response.body.size", change("http.response.body.size", 7777777)),
    ("http.request.method", change("http.request.method", "PURGE")),
    ("url.path", change("url.path", "/")),
    ("user_agent.original", change("user_agent.original", "curl")),
    ("server.port", change("server.port", 1)),
    ("network.peer.port", change("network.peer.port", 1)),
    ("db.query.text", change("db.query.text", "select")),
    ("db.operation.name", change("db.operation.name", "FIND")),
    ("db.namespace", change("db.namespace", "other")),
    ("db.response.status_code", change("db.response.status_code", "00000")),
    ("db.response.returned_rows", change("db.response.returned_rows", 7777777)),
    ("wirespan.parent", change("wirespan.skipped", "never")),
    ("url.path", drop), ("db.namespace", drop), ("url.path", double), ("db.namespace", double),
    ("http.request.method", orphan), ("db.query.text", orphan), ("url.path", stray),
    ("db.query.text", stray), ("url.path", before_all), ("db.query.text", after_all),
]


def can_be_seen(damage, s):
    """Times are compared with the other end's; what several statements do is not compared."""
    if damage in (orphan, before_all, after_all):
        return s.kind == "SERVER"
    return "; " not in s.attrs.get("db.query.text", "")


def overlooked_damage(r, spans):
    """(what was damaged, is it overlooked?) for each kind of damage, on a part of the round."""
    conns = set(sorted(r.conns)[:JUDGED_CONNS])
    part = Round([c for n, c in r.conns.items() if n in conns] +
                 [t for t in r.truths if t["conn"] in conns])
    keys = {key_of_truth(t) for t in part.truths}
    spans = [s for s in spans if key_of_span(s) in keys]
    for n, (key, damage) in enumerate(DAMAGES):
        damaged = [copy.copy(s) for s in spans]
        for s in damaged:
            s.attrs = dict(s.attrs)
        with_it = [s for s in damaged if key in s.attrs and can_be_seen(damage, s)]
        if not with_it:
            continue
        damage(damaged, with_it[n * 7 % len(with_it)])
        part.faults = []
        strange = part.compare(damaged)
        yield f"{key} {damage.__name__}", not part.faults and not strange


# --- the kernel's maps ---

def bpftool(*args):
    return json.loads(subprocess.run(["/usr/sbin/bpftool", "-j", *args], check=True,
                                     stdout=subprocess.PIPE).stdout)


def map_dumps(pid):
    """{name: [(key, value)]} of the maps that requests come and go in."""
    out = {}
    for number in measure.bpf_maps(pid):
        name = bpftool("map", "show", "id", str(number)).get("name")
        if name in ("spill", "links", "links_left"):
            out[name] = [(e["formatted"]["key"], e["formatted"]["value"])
                         for e in bpftool("map", "dump", "id", str(number))]
    return out


def map_entries(pid):
    """{name: entries} of the maps that must be empty when no connection is open. Some links may
    outlive their clients: those that links_left names."""
    dumps = map_dumps(pid)
    may_stay = {value for _, value in dumps["links_left"]}
    return {"spill": len(dumps["spill"]),
            "links": sum(key not in may_stay for key, _ in dumps["links"])}


# --- the run ---

def server_ports():
    """Two that no client of ours gets: below those that the kernel gives out."""
    rng, out = random.SystemRandom(), []
    while len(out) < 2:
        port = rng.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        out.append(port)
    return out


class Run:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.gen = os.path.join(HERE, "..", "..", "build", "gen")
        self.passed = self.failed = self.seen = 0
        self.lost, self.mix = collections.Counter(), collections.Counter()
        self.shown = 0
        self.ports = server_ports()
        self.collector = Collector(folder, "--open-ports", ",".join(map(str, self.ports)),
                                   "--redact-query", "off", "--sanitize-sql", "off")

    def say(self, sentence):
        self.shown += 1
        if self.shown <= SHOWN_MAX or self.args.all:
            print("  " + sentence, flush=True)

    def play(self, number, cnt):
        path = os.path.join(self.folder, "truth.jsonl")
        options = ["--ports", ",".join(map(str, self.ports)), "--exchanges", str(cnt), "--seed",
                   str(self.args.seed), "--round", str(number)]
        for key in ("only", "protocol", "parallel"):
            if getattr(self.args, key) is not None:
                options += ["--" + key, str(getattr(self.args, key))]
        options += ["--" + key for key in ("exotic", "show") if getattr(self.args, key)]
        with open(path, "wb") as out:
            subprocess.run([self.gen, *options], stdout=out, check=True, timeout=600)
        with open(path, encoding="utf-8") as f:
            return Round(json.loads(line) for line in f)

    def arrived(self, tempo, cnt):
        """All spans that come are in the store: as many as asked for, or no more for a while."""
        last = [-1, time.monotonic()]

        def settled():
            m = tempo.metrics()
            now, stored = m["wirespan_spans_total"], m["wirespan_store_spans_total"]
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            still = time.monotonic() - last[1]
            return now == stored and still > (0.3 if now >= cnt else GIVEN_UP_SECONDS)

        wait.until("spans at rest", settled, ARRIVE_SECONDS, 0.05)

    def read(self, tempo, number, since):
        ids = set()
        for q in (f'{{ span.url.query =~ ".*g={number}-.*" }}', f'{{ span.db.namespace =~ "g{number}_.*" }}',
                  f'{{ span.user_agent.original =~ ".*g={number}-.*" }}'):
            ids |= {t["traceID"].rjust(32, "0")
                    for t in tempo.search(q, 262144, 1, int(time.time() - since) + 2)}
        return [s for i in sorted(ids) for s in tempo.trace(i)]

    def round(self, number, cnt):
        tempo, since = self.collector.tempo(), time.time()
        r = self.play(number, cnt)
        self.seen += len(r.truths)
        for conn in r.conns.values():
            self.mix["conns"] += 1
            self.mix.update({k: conn[k] for k in ("pipelined", "heads", "heads_split")})
        self.lost += r.lost
        self.arrived(tempo, self.seen)
        spans = self.read(tempo, number, since)
        strange = r.compare(spans)
        if self.args.only is None and not r.faults and not strange and number == self.args.round:
            self.judge_the_judge(r, spans)
        bad = {f[:3] for f in r.faults}
        self.failed += len(bad) + len(strange)
        self.passed += len({(t["conn"], t["order"]) for t in r.truths}) - len(bad)
        for f in sorted(r.faults):
            self.say(f"{f[4]} round {f[0]} conn {f[1]} order {f[2]} {f[3]}: {f[5]}")
        for s in strange:
            self.say(f"not asked for or doubled: {s!r} {short(s.attrs)}")

    def judge_the_judge(self, r, spans):
        """Right spans that are damaged one way each must not pass."""
        for name, overlooked in overlooked_damage(r, spans):
            self.passed += not overlooked
            self.failed += overlooked
            if overlooked:
                self.say(f"the comparison does not see it: {name}")

    def judge_total(self):
        total = int(self.collector.tempo().metrics()["wirespan_spans_total"])
        self.passed += total == self.seen
        if total != self.seen:
            self.failed += 1
            self.say(f"{total} spans in all, not {self.seen}")

    def judge_losses(self):
        got = {k: int(v) for k, v in self.collector.tempo().losses().items()}
        want = {k: v for k, v in self.lost.items() if v}
        if got != want:
            self.failed += 1
            print(f"  lost: {got}, not {want}", flush=True)  # whatever was shown before
        else:
            self.passed += 1

    def judge_mix(self):
        """Is this the load that the test is about?"""
        pipelined = 100 * self.mix["pipelined"] / max(1, self.mix["conns"])
        split = 100 * self.mix["heads_split"] / max(1, self.mix["heads"])
        print(f"  {self.mix['conns']} connections, {pipelined:.0f} % pipelined, {split:.0f} % of the "
              f"heads split", flush=True)
        if self.args.exchanges < MIX_FROM or self.args.only is not None:
            return
        enough = pipelined >= PIPELINED_MIN and (split >= SPLIT_MIN or self.args.protocol == "pgsql")
        self.passed += enough
        self.failed += not enough

    def judge_leftovers(self):
        """With all connections closed nothing of them may be left in the kernel's hashes."""
        left = {name: cnt for name, cnt in map_entries(self.collector.pid).items() if cnt}
        if left:
            self.failed += 1
            self.say(f"left in the kernel's maps: {left}")
        else:
            self.passed += 1

    def go(self):
        left, number = self.args.exchanges, self.args.round
        with self.collector:
            while left > 0:
                cnt = min(left, ROUND_MAX)
                self.round(number, cnt)
                left, number = left - cnt, number + 1
                if left > 0 and number % 10 == 0:
                    print(f"  {self.passed} passed, {self.failed} failed so far", flush=True)
            self.judge_total()
            self.judge_losses()
            self.judge_leftovers()
        self.judge_mix()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--exchanges", type=int, default=10000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--round", type=int, default=0, help="the first round's number")
    p.add_argument("--only", type=int, help="play this connection alone")
    p.add_argument("--protocol", choices=["http", "pgsql"])
    p.add_argument("--parallel", type=int)
    p.add_argument("--exotic", action="store_true", help="also what no client library does")
    p.add_argument("--show", action="store_true", help="with --only: print what is sent")
    p.add_argument("--all", action="store_true", help="show all faults")
    args = p.parse_args()
    folder = tempfile.mkdtemp(prefix="wirespan-gen-")
    print(f"seed {args.seed}, {args.exchanges} exchanges", flush=True)
    run = Run(args, folder)
    began = time.monotonic()
    try:
        run.go()
    finally:
        shutil.rmtree(folder)
    if run.failed:
        print("  again: tests/gen/run " + " ".join(sys.argv[1:]), flush=True)
    print(f"  {time.monotonic() - began:.1f} s")
    print(f"{run.passed} passed, {run.failed} failed", flush=True)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
