# SPDX-License-Identifier: Apache-2.0
"""Connections: who holds them, how they end, what family they are of, and what goes over them that
is large, or long, or not HTTP.

As in test_sockets.py, what a driven client and server sent each other is the truth.
"""

import os
import time

import pytest

from measure import bpf_maps
from pairs import collector, name, pair  # noqa: F401
from peers import Pair, request, response

MIB = 1 << 20
CLOSED = "connection_closed"


# --- sockets that several share ---

def test_passed_to_another_process(pair, folder):
    """The request is read by one process and answered by another, whose span it is."""
    path = folder + "/socket"
    pair.asks("/passed")
    pair.server(f"u = socket.socket(socket.AF_UNIX); u.bind({path!r}); u.listen()")
    first = pair.server
    pair.new_server()
    pair.server(f"v = socket.socket(socket.AF_UNIX); v.connect({path!r})")
    first("w, _ = u.accept(); socket.send_fds(w, [b'x'], [c.fileno()]); c.close()")
    pair.server("c = socket.socket(fileno=socket.recv_fds(v, 1, 1)[1][0])")
    pair.answers()
    pair.want("GET", "/passed", 200, 0, 2)
    pair.ask("/after")
    pair.check()


def test_fork_with_a_shared_socket(pair):
    """Parent and child answer by turns on one socket."""
    pair.server("r, w = os.pipe(); r2, w2 = os.pipe()\n"
                "child = os.fork()\n"
                "if not child:\n"
                "    os.close(w)\n"
                "    while n := os.read(r, 4):\n"
                "        data = take(c, int(n)); c.sendall(b'HTTP/1.1 201 Made\\r\\n'\n"
                "                                         b'Content-Length: 5\\r\\n\\r\\nchild')\n"
                "        os.write(w2, b'x')\n"
                "    os._exit(0)")
    for n in range(3):
        pair.ask(f"/parent/{n}")
        data = request(f"/child/{n}")
        pair.client(f"s.sendall({data!r})")
        pair.server(f"os.write(w, b'%4d' % {len(data)}); os.read(r2, 1)")
        pair.client(f"take(s, {len(b'HTTP/1.1 201 Made') + len(b'Content-Length: 5') + 11})")
        pair.want("GET", f"/child/{n}", 201, 0, 5)
    pair.ask("/after")
    pair.check()


def test_two_threads_on_one_socket(pair):
    """One thread writes requests, another reads responses; the server does the same."""
    cnt = 200
    pair.client("def write():\n"
                f"    for n in range({cnt}):\n"
                "        room.acquire()\n"
                "        s.sendall(b'POST /t/%d HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 4\\r\\n"
                "\\r\\nbody' % n)\n"
                "room = threading.Semaphore(8)\n"
                "writer = threading.Thread(target=write); writer.start()")
    pair.server.post("import queue\nq = queue.Queue()\n"
                     "def write():\n"
                     "    while (n := q.get()) is not None:\n"
                     "        c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % n"
                     " + b'r' * n)\n"
                     "writer = threading.Thread(target=write); writer.start()\n"
                     "buf, seen = b'', 0\n"
                     f"while seen < {cnt}:\n"
                     "    buf += c.recv(1000)\n"
                     "    while (at := buf.find(b'\\r\\n\\r\\nbody')) >= 0:\n"
                     "        buf = buf[at + 8:]; q.put(seen); seen += 1\n"
                     "q.put(None); writer.join(); len(buf)")
    pair.client(f"for n in range({cnt}):\n"
                "    head = b''\n"
                "    while not head.endswith(b'\\r\\n\\r\\n'): head += s.recv(1)\n"
                "    got = take(s, n) if n else 0\n"
                "    room.release()\n"
                "writer.join()")
    assert pair.server.result() == 0
    for n in range(cnt):
        pair.want("POST", f"/t/{n}", 200, 4, n)
    pair.ask("/after")
    pair.check()


# --- ends ---

@pytest.mark.parametrize("who", ["client", "server"])
def test_reset_with_an_open_exchange(pair, who):
    pair.connect(names=("s2", "c2"))
    pair.asks("/reset", names=("s2", "c2"))
    if who == "client":
        pair.client("reset(s2)")
    else:
        pair.server("reset(c2)")
    pair.want("GET", "/reset", None, 0, 0, CLOSED)
    pair.ask("/after")
    pair.check()


@pytest.mark.parametrize("who", ["client", "server"])
def test_close_with_an_open_exchange(pair, who):
    pair.connect(names=("s2", "c2"))
    pair.asks("/closed", names=("s2", "c2"))
    if who == "client":
        pair.client("s2.close()")
        pair.server("drain(c2); c2.close()")
    else:
        pair.server("c2.close()")
        pair.client("drain(s2); s2.close()")
    pair.want("GET", "/closed", None, 0, 0, CLOSED)
    pair.ask("/after")
    pair.check()


def test_reset_in_the_middle_of_a_response(pair):
    pair.connect(names=("s2", "c2"))
    pair.asks("/half", names=("s2", "c2"))
    data = response(length=1000, body=b"h" * 600)
    pair.server(f"c2.sendall({data!r})")
    pair.client(f"take(s2, {len(data)}); reset(s2)")
    pair.want("GET", "/half", 200, 0, 600, CLOSED)
    pair.ask("/after")
    pair.check()


@pytest.mark.parametrize("said", [0, 600], ids=["nothing", "half"])
def test_reset_by_a_client_that_left_the_end_unread(pair, said):
    """The reset makes the socket forget how far it was read."""
    pair.connect(names=("s2", "c2"))
    pair.asks("/unread", names=("s2", "c2"))
    data = response(length=1000, body=b"h" * said) if said else b""
    pair.server(f"c2.sendall({data!r}); c2.shutdown(socket.SHUT_WR)")
    pair.client(f"take(s2, {len(data)}); s2.recv(1, socket.MSG_PEEK); reset(s2)")
    pair.want("GET", "/unread", 200 if said else None, 0, said, CLOSED)
    pair.ask("/after")
    pair.check()


FAST_OPEN = "s2 = socket.socket(); s2.setsockopt(socket.IPPROTO_TCP, 34, 1)"  # TCP_FASTOPEN_NO_COOKIE
FAST_OPENS = {
    "sendto": "s2.sendto({data!r}, socket.MSG_FASTOPEN, {at!r})",
    "connect": "s2.setsockopt(socket.IPPROTO_TCP, 30, 1); s2.connect({at!r}); s2.sendall({data!r})",
}


@pytest.mark.parametrize("how", FAST_OPENS)
def test_request_that_goes_with_the_syn(pair, how):
    """TCP Fast Open. No hook sees what is sent so: the client has no span of it, which is counted."""
    data, back = request("/fast"), response()
    pair.client(FAST_OPEN)
    pair.client(FAST_OPENS[how].format(data=data, at=("127.0.0.1", pair.port)))
    pair.server(f"c2, _ = l.accept(); take(c2, {len(data)}); c2.sendall({back!r})")
    pair.client(f"take(s2, {len(back)})")
    pair.want("GET", "/fast", 200, 0, 2, ends="s")
    pair.ask("/more", names=("s2", "c2"))
    pair.ask("/after")
    pair.check({"fast_open": 1})


@pytest.mark.parametrize("is_open", [False, True], ids=["answered", "unanswered"])
def test_socket_that_connects_again(pair, is_open):
    """connect(AF_UNSPEC) takes a connection from its socket, which then begins another one."""
    pair.connect(names=("s2", "c2"))
    pair.ask("/first", names=("s2", "c2"))
    if is_open:
        pair.asks("/open", names=("s2", "c2"))
        pair.want("GET", "/open", None, 0, 0, CLOSED)
    pair.client("unspec = bytes(16); ctypes.CDLL(None).connect(s2.fileno(), unspec, len(unspec))")
    pair.server("c2.close()")
    pair.client(f"s2.connect(('127.0.0.1', {pair.port}))")
    pair.server("c2, _ = l.accept()")
    pair.ask("/second", names=("s2", "c2"))
    pair.ask("/third", names=("s2", "c2"))
    pair.check()


def test_reset_while_the_socket_is_full(pair):
    """The server's span says what the socket took, not what the program tried to send."""
    pair.connect(names=("s2", "c2"))
    pair.asks("/full", names=("s2", "c2"))
    head = response(length=100 * MIB, body=b"")
    sent = pair.server(f"c2.sendall({head!r}); fill(c2, b'f' * {MIB})")
    pair.client(f"take(s2, {len(head) + 100000}); reset(s2)")
    pair.want("GET", "/full", 200, 0, 100000, CLOSED, ends="c")
    pair.want("GET", "/full", 200, 0, sent, CLOSED, ends="s")
    pair.ask("/after")
    pair.check()


def test_half_close(pair):
    """The client has said all; the server answers with a body that only the end delimits."""
    pair.connect(names=("s2", "c2"))
    data, back = request("/half-closed", "POST", body=b"x"), response(length="", body=b"e" * 5000)
    pair.client(f"s2.sendall({data!r}); s2.shutdown(socket.SHUT_WR)")
    pair.server(f"take(c2, {len(data)}); drain(c2); c2.sendall({back!r}); c2.close()")
    assert pair.client("drain(s2)") == len(back)
    pair.client("s2.close()")
    pair.want("POST", "/half-closed", 200, 1, 5000)
    pair.ask("/after")
    pair.check()


def test_half_close_in_one_read(pair):
    """The read that brings the request brings the end of the stream with it."""
    pair.connect(names=("s2", "c2"))
    data, back = request("/with-fin"), response()
    pair.client(f"s2.sendall({data!r}); s2.shutdown(socket.SHUT_WR)")
    pair.server(f"time.sleep(0.05); c2.recv(4096); c2.sendall({back!r}); c2.close()")
    pair.client("drain(s2); s2.close()")
    pair.want("GET", "/with-fin", 200, 0, 2)
    pair.ask("/after")
    pair.check()


# --- families ---

@pytest.mark.parametrize("client_family,client_address,address", [
    ("AF_INET6", "::1", "::1"), ("AF_INET", "127.0.0.1", "127.0.0.1"),
    ("AF_INET6", "::ffff:127.0.0.1", "127.0.0.1")], ids=["v6", "v4-to-v6", "mapped"])
def test_ipv6(collector, name, client_family, client_address, address):
    p = Pair(collector, name, connect=False)
    try:
        p.listen("AF_INET6", "::")
        p.connect(client_family, client_address)
        p.ask("/one")
        p.ask("/two", "POST", b"12", b"345")
        p.check()
        at = {s.kind: s.attrs for s in p.spans("s") + p.spans("c")}
        assert at["SERVER"]["client.address"] == address
        assert at["SERVER"]["network.peer.port"] == p.client("s.getsockname()[1]")
        assert at["CLIENT"]["network.peer.address"] == address
        assert at["CLIENT"]["network.peer.port"] == p.port
    finally:
        p.close()


def mptcp_enabled():
    try:
        with open("/proc/sys/net/mptcp/enabled", encoding="ascii") as f:
            return f.read().strip() == "1"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not mptcp_enabled(), reason="net.mptcp.enabled is not 1")
def test_mptcp_listener(collector, name):
    """A plain client of it is as any other; a real Multipath TCP connection is counted, once at
    each end, and nothing is made up about it."""
    p = Pair(collector, name, connect=False)
    try:
        p.listen(proto=262)
        p.connect()
        p.ask("/plain")
        p.connect(proto=262, names=("s2", "c2"))
        for n in range(3):
            data, back = request(f"/multipath/{n}"), response()
            p.client(f"s2.sendall({data!r})")
            p.server(f"take(c2, {len(data)}); c2.sendall({back!r})")
            p.client(f"take(s2, {len(back)})")
        p.client("s2.close()")
        p.server("drain(c2); c2.close()")
        p.ask("/after")
        p.check({"mptcp": 2})
    finally:
        p.close()


@pytest.mark.skipif(not mptcp_enabled(), reason="net.mptcp.enabled is not 1")
def test_mptcp_client_of_a_plain_listener(collector, name):
    """It falls back to TCP: the server's end is as any other, the client's socket is not TCP."""
    p = Pair(collector, name, connect=False)
    try:
        p.listen()
        p.connect(proto=262)
        p.asks("/plain")
        p.answers()
        p.want("GET", "/plain", 200, 0, 2, ends="s")
        p.connect()
        p.ask("/after")
        p.check({"mptcp": 1})
    finally:
        p.close()


# --- large, long and other than HTTP ---

def test_put_of_1_gib(pair):
    data = request("/gib", "PUT", 1 << 30)
    began = time.monotonic()
    pair.client.post(f"s.sendall({data!r}); give_file(s, {1 << 30})")
    pair.server(f"take(c, {len(data) + (1 << 30)})")
    assert pair.client.result() == 1 << 30
    pair.answers()
    assert time.monotonic() - began < 15
    pair.want("PUT", "/gib", 200, 1 << 30, 2)
    pair.ask("/after")
    pair.check()


def test_websocket(pair):
    """One span, which ends with the 101; then whatever comes, though it looks like HTTP."""
    pair.connect(names=("s2", "c2"))
    data = request("/chat", more=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    back = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    pair.client(f"s2.sendall({data!r})")
    pair.server(f"take(c2, {len(data)}); c2.sendall({back!r})")
    pair.client(f"take(s2, {len(back)})")
    for n in range(20):
        frame, other = b"\x81\x85" + bytes([n]) * 9, request("/inside")
        pair.client(f"s2.sendall({frame!r} + {other!r})")
        pair.server(f"take(c2, {len(frame + other)}); c2.sendall({response()!r})")
        pair.client(f"take(s2, {len(response())})")
    pair.want("GET", "/chat", 101, 0, 0)
    pair.ask("/while-it-is-open")
    pair.client("s2.close()")
    pair.server("drain(c2); c2.close()")
    pair.ask("/after")
    pair.check()


def test_connect_tunnel(pair):
    pair.connect(names=("s2", "c2"))
    data, back = request("other.example:443", "CONNECT"), response(length="", body=b"")
    pair.client(f"s2.sendall({data!r})")
    pair.server(f"take(c2, {len(data)}); c2.sendall({back!r})")
    pair.client(f"take(s2, {len(back)})")
    inside = request("/inside")
    pair.client(f"s2.sendall({inside!r})")
    pair.server(f"take(c2, {len(inside)}); c2.sendall({response()!r}); c2.close()")
    pair.client("drain(s2); s2.close()")
    pair.want("CONNECT", "", 200, 0, 0)
    pair.ask("/after")
    pair.check()


def test_server_sent_events(pair):
    """Chunked, one event a second or so; the span ends with the last chunk, not with the head."""
    data = request("/events", more=b"Accept: text/event-stream\r\n")
    head = response(length="", more=b"Content-Type: text/event-stream\r\n"
                                    b"Transfer-Encoding: chunked\r\n", body=b"")
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data)}); c.sendall({head!r})")
    pair.client(f"take(s, {len(head)})")
    for n in range(10):
        event = b"9\r\ndata: %d\n\n\r\n" % n
        pair.server(f"time.sleep(0.02); c.sendall({event!r})")
        pair.client(f"take(s, {len(event)})")
    pair.server("c.sendall(b'0\\r\\n\\r\\n')")
    pair.client("take(s, 5)")
    pair.want("GET", "/events", 200, 0, 90)
    pair.ask("/after")
    pair.check()
    events = pair.spans("s")[0]
    assert events.end - events.start > 200e6 > 50e6 > events.attrs["wirespan.first_byte_ns"]


def kernel_bytes(collector):
    return sum(bpf_maps(collector.pid).values())


def test_garbage_and_half_heads(pair, collector):
    """Forty connections that send nonsense or a head without end cost what an idle one costs, give
    no span, and disturb nobody. (Binary that turns often is counted as unknown.)"""
    before, rss = kernel_bytes(collector), collector.rss_anon()
    pair.ask("/before")
    for n in range(40):
        pair.connect(names=(f"s{n}", f"c{n}"))
        junk = os.urandom(1).hex().encode() * 1000 if n % 2 else b"X-More: %d\r\n" % n * 1000
        head = b"" if n % 2 else b"GET /never-ends HTTP/1.1\r\n"
        pair.client.post(f"s{n}.sendall({head!r})\nfor i in range(20): s{n}.sendall({junk!r})")
        pair.server(f"take(c{n}, {len(head) + 20 * len(junk)})")
        pair.client.result()
        pair.ask(f"/between/{n}")
    assert kernel_bytes(collector) - before < 64 * 1024
    assert collector.rss_anon() - rss < 4 * MIB
    pair.client("[globals()[f's{n}'].close() for n in range(40)]; None")
    pair.server("[globals()[f'c{n}'].close() for n in range(40)]; None")
    pair.ask("/after")
    pair.check()


def test_unknown_protocol_is_counted(pair):
    pair.connect(names=("s2", "c2"))
    for n in range(70):
        pair.client("s2.sendall(b'*3\\r\\n$3\\r\\nSET\\r\\n')")
        pair.server("take(c2, 13); c2.sendall(b'+OK\\r\\n')")
        pair.client("take(s2, 5)")
    pair.ask("/after")
    pair.check({"unknown": 2})
