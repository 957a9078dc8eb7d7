# SPDX-License-Identifier: Apache-2.0
"""The collector comes, goes or stands still while exchanges are under way.

What it has not seen it does not make up: no span for what was half over when it came, and the next
request of the same connection is right. What it lost because nobody emptied the ring is counted
to the last span.
"""

import os
import threading

import pytest

import wait
from collector import Collector
from peers import PREFIX, Pair, join_faults, path_of, request, response
from programs import Stopped

ARGS = ["--name", PREFIX + "*"]


@pytest.fixture
def pairs():
    made = []

    def make(name, collector=None):
        made.append(Pair(collector, name))
        return made[-1]

    yield make
    for p in made:
        p.close()


def old_exchange(pair):
    pair.ask("/before")
    pair.truth.clear()


def half_response(pair):
    old_exchange(pair)
    pair.asks("/half")
    data = response(length=100000, body=b"b" * 40000)
    pair.server(f"c.sendall({data!r})")
    pair.client(f"take(s, {len(data)})")
    return lambda: (pair.server("give(c, 60000, b'b')"), pair.client("take(s, 60000)"))


def half_sendfile(pair):
    old_exchange(pair)
    pair.asks("/half")
    data = response(length=3000000, body=b"")
    pair.server(f"c.sendall({data!r}); give_file(c, 100000)")
    pair.client(f"take(s, {len(data)} + 100000)")

    def rest():
        pair.server.post("give_file(c, 2900000)")
        pair.client("take(s, 2900000)")
        pair.server.result()
    return rest


def half_request(pair):
    old_exchange(pair)
    data = request("/half", "PUT", 90000, body=b"r" * 10000)
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data)})")

    def rest():
        pair.client("give(s, 80000, b'r')")
        pair.server("take(c, 80000)")
        pair.answers()
    return rest


def half_chunk(pair):
    pair.asks("/half")
    data = response(length="", more=b"Transfer-Encoding: chunked\r\n", body=b"1f4\r\n" + b"k" * 300)
    pair.server(f"c.sendall({data!r})")
    pair.client(f"take(s, {len(data)})")
    rest = b"k" * 200 + b"\r\n5\r\nhello\r\n0\r\n\r\n"
    return lambda: (pair.server(f"c.sendall({rest!r})"), pair.client(f"take(s, {len(rest)})"))


def half_head(pair):
    data = request("/half")
    pair.client(f"s.sendall({data[:20]!r})")
    pair.server("take(c, 20)")

    def rest():
        pair.client(f"s.sendall({data[20:]!r})")
        pair.server(f"take(c, {len(data) - 20})")
        pair.answers()
    return rest


def unanswered(pair):
    pair.asks("/half")
    return pair.answers


def tunnel(pair):
    """An upgraded connection is nothing of ours, whenever we come."""
    pair.asks("/half")
    data = b"HTTP/1.1 101 Switching\r\n\r\n"
    pair.server(f"c.sendall({data!r})")
    pair.client(f"take(s, {len(data)})")

    def rest():
        pair.server("c.sendall(bytes(range(128, 250)))")
        pair.client("take(s, 122)")
        pair.connect()
    return rest


HALVES = [half_response, half_sendfile, half_request, half_chunk, half_head, unanswered, tunnel]


def test_attach_in_the_middle(pairs, folder):
    """Seven connections in seven states of half-done; on each the next requests are right."""
    half = {h.__name__: pairs(h.__name__.replace("_", "-")) for h in HALVES}
    rests = [h(half[h.__name__]) for h in HALVES]
    with Collector(folder, *ARGS) as c:
        for p in half.values():
            p.watch(c)
        for rest in rests:
            rest()
        for p in half.values():
            p.truth.clear()
            p.ask("/next", "POST", b"12", b"345")
            p.ask("/after")
        for p in half.values():
            p.check()


def test_attach_before_the_request_is_read(pairs, folder):
    """The client's part was over when we came, the server's was not."""
    p = pairs("unread")
    data = request("/unread")
    p.client(f"s.sendall({data!r})")
    with Collector(folder, *ARGS) as c:
        p.watch(c)
        p.server(f"take(c, {len(data)})")
        p.answers()
        p.want("GET", "/unread", 200, 0, 2, ends="s")
        p.ask("/after")
        p.check()


def test_restart_in_the_middle_of_exchanges(pairs, folder):
    """Killed between request and response, and again in the middle of a body: those exchanges are
    gone, what was over is in the store, and what comes next is right."""
    store = os.path.join(folder, "store")
    first = Collector(os.path.join(folder, "a"), *ARGS, store=store).start()
    second = Collector(os.path.join(folder, "b"), *ARGS, store=store)
    try:
        p, q = pairs("restarted", first), pairs("restarted-body", first)
        for pair in (p, q):
            pair.ask("/before")
        p.await_last(), q.await_last()
        p.asks("/gone")
        rest = half_request_open(q)
        first.kill()
        second.start()
        p.watch(second), q.watch(second)
        p.answers()
        rest()
        for pair in (p, q):
            pair.ask("/next")
            pair.ask("/after")
            pair.check()
    finally:
        first.kill()
        if second.process:
            second.stop()


def half_request_open(pair):
    data = request("/gone", "PUT", 5000, body=b"r" * 1000)
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data)})")
    return lambda: (pair.client("give(s, 4000)"), pair.server("take(c, 4000)"), pair.answers())


def test_ring_overflow(pairs, folder):
    """The counter says exactly how many spans are missing; each that is there is there once and
    whole; failed exchanges have a part of the ring for themselves; then all is as before."""
    cnt = 3000
    with Collector(folder, *ARGS, "--ring-kib", "256") as c:
        p, q = pairs("flood", c), pairs("beside", c)
        q.asks("/open-meanwhile")
        with Stopped(c.pid):
            p.asks_many(0, cnt)
            for n in range(10):
                p.asks(f"/failed/{n}")
                data = response(503, body=b"")
                p.server(f"c.sendall({data!r})")
                p.client(f"take(s, {len(data)})")
        wait.until("the ring is empty again: its last spans are in the store", lambda: all(
            "/failed/9" in map(path_of, p.spans(end)) for end in "cs"), 15)
        q.answers()
        q.want("GET", "/open-meanwhile", 200, 0, 2)
        p.ask("/after")
        q.ask("/after")
        found = p.await_last()
        seen = {end: [path for path in map(path_of, found[end]) if path.startswith("/n/")]
                for end in "cs"}
        for end in "cs":
            assert len(seen[end]) == len(set(seen[end]))
        missing = 2 * cnt - len(seen["c"]) - len(seen["s"])
        assert missing > cnt
        assert p.losses.since() == {"ring_span": missing}
        failed = [path_of(s) for end in "cs" for s in found[end] if "/failed/" in path_of(s)]
        assert sorted(failed) == sorted(2 * [f"/failed/{n}" for n in range(10)])
        assert join_faults(found, set(seen["c"]) & set(seen["s"]) | {"/after"}) == []
        q.check({"ring_span": missing})


def test_ring_overflow_on_many_connections(pairs, folder):
    """Several at once, stopped and let go several times: what is missing was counted."""
    cnt = 1500
    with Collector(folder, *ARGS, "--ring-kib", "128") as c:
        many = [pairs(f"flood{n}", c) for n in range(4)]
        floods = [threading.Thread(target=p.asks_many, args=(0, cnt)) for p in many]
        for t in floods:
            t.start()
        while any(t.is_alive() for t in floods):
            with Stopped(c.pid):
                floods[0].join(0.1)
            floods[0].join(0.05)

        def adds_up():
            lost = many[0].losses.since()
            assert set(lost) <= {"ring_span"}
            stored = sum(len(p.spans(end)) for p in many for end in "cs")
            return stored + lost.get("ring_span", 0) == 2 * len(many) * cnt and lost

        lost = wait.until("all that is not in the store is counted", adds_up, 20)
        for p in many:
            p.ask("/after")
        for p in many:
            found = p.await_last()
            assert [path_of(found[end][-1]) for end in "cs"] == ["/after", "/after"]
            assert join_faults(found, {"/after"}) == []
        assert many[0].losses.since() == lost
