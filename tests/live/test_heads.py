# SPDX-License-Identifier: Apache-2.0
"""Heads that are long, old-fashioned or wrong, and bodies that look like one, between two real programs; each
is followed by an ordinary exchange, which nothing of it may disturb.

As in test_sockets.py, what a driven client and server sent each other is the truth.
"""

import pytest

from pairs import collector, name, pair  # noqa: F401
from peers import request, response

FIELD = b"X-Padding-%d: " + b"p" * 1000 + b"\r\n"


def passes(pair, data, back):
    """The request is read, then the response."""
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data)}); c.sendall({back!r})")
    pair.client(f"take(s, {len(back)})")


LEGAL = {
    "64_kib": b"".join(FIELD % n for n in range(64)),
    "200_headers": b"".join(b"X-H%d: %d\r\n" % (n, n) for n in range(200)),
    "folded": b"X-Folded: one\r\n two\r\n\tthree\r\nX-More:\r\n  four\r\n",
    "equal_lengths": b"Content-Length: 4\r\n",
    "blanks": b"X-A:none\r\nX-B:\t \r\nX-C:   behind  \t\r\n",
}


@pytest.mark.parametrize("more", LEGAL.values(), ids=LEGAL)
def test_head(pair, more):
    passes(pair, request("/head", "POST", 4, more, b"body"), response(length=4, more=more, body=b"back"))
    pair.want("POST", "/head", 200, 4, 4)
    pair.ask("/after")
    pair.check()


def test_bare_line_feeds(pair):
    def bare(data):
        return data.replace(b"\r\n", b"\n")

    passes(pair, bare(request("/bare", "POST", body=b"1234")), bare(response(body=b"back")))
    pair.want("POST", "/bare", 200, 4, 4)
    pair.ask("/after")
    pair.check()


def test_bodies_like_messages(pair):
    """Counted, and not looked at."""
    sly, back = request("/never", "DELETE"), response(500)
    passes(pair, request("/sly", "POST", body=sly * 20), response(body=back * 30))
    pair.want("POST", "/sly", 200, 20 * len(sly), 30 * len(back))
    pair.ask("/after")
    pair.check()


def test_lengths_that_contradict(pair):
    """Nobody can say where the body ends: the connection's place is lost, and that is counted."""
    pair.ask("/before")
    pair.connect(names=("s2", "c2"))
    data = request("/contradicts", "POST", 4, b"Content-Length: 5\r\n", b"body")
    pair.client(f"s2.sendall({data!r})")
    pair.server(f"take(c2, {len(data)}); c2.close()")
    pair.client("drain(s2); s2.close()")
    pair.ask("/after")
    pair.check({"bad_bytes": 2})


def test_long_target(pair):
    """Cut, and the spans say so."""
    target = "/long/" + "t" * 4000
    passes(pair, request(target), response())
    pair.ask("/after")
    for end, spans in pair.await_last().items():
        cut = [s for s in spans if s.attrs.get("wirespan.cut")]
        assert len(cut) == 1 and len(spans) == 2, end
        path = cut[0].attrs.get("url.path") or cut[0].attrs["url.full"]
        assert "/long/" + "t" * 200 in path and len(path) < 300, end
    assert pair.losses.since() == {}
