# SPDX-License-Identifier: Apache-2.0
"""Every way in which a program can move bytes through a TCP socket, and share or end one.

Each test drives a client and a server step by step; what they sent each other is the truth for the
spans of both ends, and every counter of losses must be what the test says. The collector knows both
from their service names; nothing else that runs on the machine has such a name.
"""

import os
import subprocess
import time

import pytest

from collector import Collector
from measure import bpf_maps
from peers import PREFIX, PROGS, Pair, request, response

MIB = 1 << 20
CLOSED = "connection_closed"


@pytest.fixture(scope="module")
def collector(module_folder):
    with Collector(module_folder, "--name", PREFIX + "*") as c:
        yield c


@pytest.fixture
def name(request):
    return request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")


@pytest.fixture
def pair(collector, name):
    p = Pair(collector, name)
    yield p
    p.close()


# --- calls that send ---

def test_ordinary(pair):
    pair.ask("/one")
    pair.ask("/two", "POST", b"x" * 1000, b"y" * 2000)
    pair.check()


def test_sendfile(pair):
    """Head by send, body by sendfile: a response, then a request."""
    pair.asks("/from-file")
    pair.server.post(f"c.sendall({response(length=3 * MIB, body=b'')!r}); give_file(c, {3 * MIB})")
    head = len(response(length=3 * MIB, body=b""))
    pair.client(f"take(s, {head + 3 * MIB})")
    assert pair.server.result() == 3 * MIB
    pair.want("GET", "/from-file", 200, 0, 3 * MIB)
    data = request("/to-file", "PUT", 2 * MIB)
    pair.client.post(f"s.sendall({data!r}); give_file(s, {2 * MIB})")
    pair.server(f"take(c, {len(data) + 2 * MIB})")
    pair.client.result()
    pair.answers()
    pair.want("PUT", "/to-file", 200, 2 * MIB, 2)
    pair.ask("/after")
    pair.check()


def test_splice_to_socket(pair):
    pair.asks("/spliced")
    data = response(length=100000, body=b"")
    pair.server.post(f"c.sendall({data!r}); splice_out(c, b'b' * 100000)")
    pair.client(f"take(s, {len(data) + 100000})")
    pair.server.result()
    pair.want("GET", "/spliced", 200, 0, 100000)
    pair.ask("/after")
    pair.check()


def test_splice_of_a_head(pair):
    """Nobody can see it: both ends begin anew with the next request, and say so."""
    pair.ask("/before")
    data = request("/unseen")
    pair.client(f"splice_out(s, {data!r})")
    pair.server(f"take(c, {len(data)})")
    pair.answers()
    pair.want("GET", "/unseen", 200, 0, 2, ends="s")
    pair.ask("/after")
    pair.check({"gap": 1})


def test_splice_from_socket(pair):
    """A server that splices the request's body away, and a client that does so with a response."""
    data = request("/away", "PUT", 300000)
    pair.client.post(f"s.sendall({data!r}); give(s, 300000)")
    pair.server(f"take(c, {len(data)}); splice_in(c, 300000)")
    pair.client.result()
    pair.answers()
    pair.want("PUT", "/away", 200, 300000, 2)
    pair.asks("/back")
    data = response(length=200000, body=b"")
    pair.server.post(f"c.sendall({data!r}); give(c, 200000)")
    pair.client(f"take(s, {len(data)}); splice_in(s, 200000)")
    pair.server.result()
    pair.want("GET", "/back", 200, 0, 200000)
    pair.ask("/after")
    pair.check()


def test_splice_until_close(pair):
    """The response's body is spliced away and nothing follows: complete, not aborted."""
    pair.connect(names=("s2", "c2"))
    pair.asks("/last", names=("s2", "c2"))
    data = response(length=50000, body=b"")
    pair.server(f"c2.sendall({data!r}); give(c2, 50000)")
    pair.client(f"take(s2, {len(data)}); splice_in(s2, 50000); s2.close()")
    pair.want("GET", "/last", 200, 0, 50000)
    pair.ask("/after")
    pair.check()


def test_zerocopy(pair):
    """MSG_ZEROCOPY, with its notices read from the error queue."""
    data = request("/zerocopy", "PUT", body=b"z" * 500000)
    pair.client.post(f"s.setsockopt(socket.SOL_SOCKET, 60, 1); data = {data!r}\n"
                     "left = len(data)\n"
                     "while left: left -= s.send(data[-left:], 0x4000000)\n"
                     "p = select.poll(); p.register(s, 0); p.poll(5000)\n"
                     "len(s.recvmsg(100, 100, 0x2000)[1])")
    pair.server(f"take(c, {len(data)})")
    assert pair.client.result() == 1
    pair.answers()
    pair.want("PUT", "/zerocopy", 200, 500000, 2)
    pair.ask("/after")
    pair.check()


def test_writev_of_1000_pieces(pair):
    """The head in pieces of one byte, then the body in pieces of 70."""
    data = request("/pieces", "PUT", body=b"p" * 56000)
    head = len(data) - 56000
    assert head < 200
    pair.client(f"data = {data!r}\n"
                f"v = [data[i:i+1] for i in range({head})] + "
                f"[data[i:i+70] for i in range({head}, len(data), 70)]\n"
                "v += [b''] * (1000 - len(v))\n"
                "assert len(v) == 1000 and os.writev(s.fileno(), v) == len(data)")
    pair.server(f"take(c, {len(data)})")
    pair.answers()
    pair.want("PUT", "/pieces", 200, 56000, 2)
    pair.ask("/after")
    pair.check()


def test_sendmmsg(pair):
    """One call, three messages: one and a half requests, the other half, a third request."""
    one, two, three = (request(f"/mmsg/{n}") for n in ("a", "b", "c"))
    pair.client(f"sendmmsg(s, [[{one!r}, {two[:9]!r}], [{two[9:]!r}], [{three[:3]!r}, "
                f"{three[3:]!r}]])")
    pair.server(f"take(c, {len(one + two + three)})")
    for n in "abc":
        pair.answers(n.encode())
        pair.want("GET", f"/mmsg/{n}", 200, 0, 1)
    pair.ask("/after")
    pair.check()


def test_partial_writes(pair):
    """A non-blocking socket that takes a part and then nothing; the client reads when it is full."""
    pair.server("c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200000); c.setblocking(False)")
    for n, size in enumerate((5 * MIB, 300001)):
        pair.asks(f"/partial/{n}")
        data = response(length=size, body=b"")
        pair.server.post(f"give_when_ready(c, {data!r} + b'd' * {size})")
        pair.client(f"take(s, {len(data) + size})")
        assert n or pair.server.result() > 1
        n and pair.server.result()
        pair.want("GET", f"/partial/{n}", 200, 0, size)
    pair.server("c.setblocking(True)")
    pair.ask("/after")
    pair.check()


def test_heads_that_do_not_fit(pair):
    """Heads of 1 MiB into a socket that takes them in parts: nothing is seen twice."""
    pair.client("s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100000)")
    more = b"".join(b"X-Filler-%d: %s\r\n" % (n, b"f" * 10000) for n in range(100))
    for n in range(3):
        data = request(f"/parts/{n}", more=more)
        pair.client.post(f"s.setblocking(False); p = give_when_ready(s, {data!r}); "
                         "s.setblocking(True); p")
        pair.server(f"take(c, {len(data)})")
        assert pair.client.result() > 0
        pair.answers()
        pair.want("GET", f"/parts/{n}", 200, 0, 2)
    pair.ask("/after")
    pair.check()


# --- calls that receive ---

def test_readv_and_recvmsg(pair):
    """Buffers of one byte, of some, and too many of them."""
    first, second = request("/readv", "PUT", body=b"v" * 500), request("/recvmsg", "PUT", body=b"v" * 90)
    pair.client(f"s.sendall({first!r})")
    pair.server("b = [bytearray(1), bytearray(0), bytearray(2), bytearray(30), bytearray(5000), "
                f"bytearray(9)]; os.readv(c.fileno(), b) == {len(first)}")
    pair.answers()
    pair.want("PUT", "/readv", 200, 500, 2)
    pair.client(f"s.sendall({second!r})")
    assert pair.server("b = [bytearray(1) for n in range(40)] + [bytearray(4000)]; "
                       "c.recvmsg_into(b)[0]") == len(second)
    data = response(body=b"w" * 77)
    pair.server(f"c.sendall({data!r})")
    assert pair.client("b = [bytearray(7) for n in range(100)]; "
                       "s.recvmsg_into(b, 100)[0]") == len(data)
    pair.want("PUT", "/recvmsg", 200, 90, 77)
    pair.ask("/after")
    pair.check()


def test_one_byte_reads(pair):
    data, back = request("/bytewise", "POST", body=b"0123456789"), response(body=b"abc")
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data)}, 1); c.sendall({back!r})")
    pair.client(f"take(s, {len(back)}, 1)")
    pair.want("POST", "/bytewise", 200, 10, 3)
    pair.ask("/after")
    pair.check()


def test_one_byte_sends(pair):
    data, back = request("/bytewise", "POST", body=b"0123456789"), response(body=b"abc")
    pair.client(f"[s.send(b'%c' % x) for x in {data!r}]")
    pair.server(f"take(c, {len(data)}); [c.send(b'%c' % x) for x in {back!r}]")
    pair.client(f"take(s, {len(back)})")
    pair.want("POST", "/bytewise", 200, 10, 3)
    pair.ask("/after")
    pair.check()


def test_peek_before_each_read(pair):
    data, back = request("/peeked", "POST", body=b"p" * 100), response(body=b"q" * 100)
    pair.client(f"s.sendall({data!r})")
    pair.server(f"got = b''\nwhile len(got) < {len(data)}:\n"
                "    p = c.recv(33, socket.MSG_PEEK)\n    got += c.recv(len(p))\n"
                f"c.sendall({back!r})")
    pair.client("s.recv(9, socket.MSG_PEEK); s.recv(4096, socket.MSG_PEEK | socket.MSG_TRUNC); "
                f"take(s, {len(back)})")
    pair.want("POST", "/peeked", 200, 100, 100)
    pair.ask("/after")
    pair.check()


def test_trunc_discards_a_body(pair):
    data = request("/thrown", "PUT", body=b"t" * 5000)
    pair.client(f"s.sendall({data!r})")
    pair.server(f"take(c, {len(data) - 5000}); left = 5000\n"
                "while left: left -= len(c.recv(left, socket.MSG_TRUNC))")
    pair.answers()
    pair.want("PUT", "/thrown", 200, 5000, 2)
    pair.ask("/after")
    pair.check()


def test_trunc_discards_a_head(pair):
    """Thrown away unseen: a gap for the server; the client knows what it sent."""
    pair.ask("/before")
    data = request("/unseen")
    pair.client(f"s.sendall({data!r})")
    assert pair.server(f"len(c.recv({len(data)}, socket.MSG_TRUNC))") == len(data)
    pair.answers()
    pair.want("GET", "/unseen", 200, 0, 2, ends="c")
    pair.ask("/after")
    pair.check({"gap": 1})


def test_recvmmsg(pair):
    """Whose buffers the registers do not describe: in a body exact, of a head a gap."""
    data = request("/body", "PUT", body=b"m" * 60)
    pair.client(f"s.sendall({data!r})")
    assert pair.server(f"take(c, {len(data) - 60}); recvmmsg(c, [20, 40])") == [20, 40]
    pair.answers()
    pair.want("PUT", "/body", 200, 60, 2)
    data = request("/unseen")
    pair.client(f"s.sendall({data!r})")
    assert pair.server("recvmmsg(c, [4096])") == [len(data)]
    pair.answers()
    pair.want("GET", "/unseen", 200, 0, 2, ends="c")
    pair.ask("/after")
    pair.check({"gap": 1})


def test_again_and_again(pair):
    """A loop that asks an empty socket a thousand times between all that comes."""
    pair.server("c.setblocking(False)\n"
                "def spin(n):\n"
                "    tries = 0\n"
                "    while tries < n:\n"
                "        try: c.recv(10); return -1\n"
                "        except BlockingIOError: tries += 1\n"
                "    return tries")
    data = request("/again", "POST", body=b"a" * 20)
    for at in range(0, len(data), 25):
        assert pair.server("spin(1000)") == 1000
        pair.client(f"s.sendall({data[at:at + 25]!r})")
        pair.server(f"select.select([c], [], []); c.recv({25})")
    assert pair.server("spin(1000)") == 1000
    pair.server("c.setblocking(True)")
    pair.answers()
    pair.want("POST", "/again", 200, 20, 2)
    pair.ask("/after")
    pair.check()


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


# --- io_uring ---

@pytest.fixture(scope="module")
def uring(module_folder):
    """A text that loads the library into a peer."""
    path = os.path.join(module_folder, "uring.so")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o", path,
                    os.path.join(PROGS, "uring.c"), "-luring"], check=True)
    off = "/proc/sys/kernel/io_uring_disabled"  # not before Linux 6.6
    if os.path.exists(off):
        with open(off, encoding="ascii") as f:
            if f.read().strip() == "2":
                pytest.skip("kernel.io_uring_disabled is 2")
    return f"lib = ctypes.CDLL({path!r}); buf = ctypes.create_string_buffer(100000)"


def test_io_uring(pair, uring):
    """What is received through it is not seen: in a body exact, of a head a gap, and the next
    ordinary message is right. What is sent is seen."""
    pair.client(uring)
    pair.server(uring)
    data = request("/body", "PUT", body=b"u" * 40)
    pair.client(f"s.sendall({data!r})")
    assert pair.server(f"take(c, {len(data) - 40}); lib.uring_recv(c.fileno(), buf, 40)") == 40
    pair.answers()
    pair.want("PUT", "/body", 200, 40, 2)
    data, back = request("/received"), response()
    pair.client(f"s.sendall({data!r})")
    assert pair.server("lib.uring_recv(c.fileno(), buf, 4096)") == len(data)
    pair.answers()
    pair.want("GET", "/received", 200, 0, 2, ends="c")
    data = request("/sent")
    assert pair.client(f"lib.uring_send(s.fileno(), {data!r}, {len(data)})") == len(data)
    pair.server(f"take(c, {len(data)}); c.sendall({back!r})")
    assert pair.client("lib.uring_recv(s.fileno(), buf, 4096)") == len(back)
    pair.want("GET", "/sent", 200, 0, 2, ends="s")
    pair.ask("/after")
    pair.check({"gap": 2})


def test_io_uring_alone(pair, uring):
    """A server that receives in no other way: after a while its connection is counted as unknown."""
    pair.server(uring)
    back = response()
    pair.server.post(f"for n in range(70):\n"
                     f"    lib.uring_recv(c.fileno(), buf, 4096); c.sendall({back!r})")
    pair.client(f"for n in range(70):\n"
                f"    s.sendall({request('/n/%06d')!r} % n); take(s, {len(back)})")
    pair.server.result()
    for n in range(70):
        pair.want("GET", f"/n/{n:06}", 200, 0, 2, ends="c")
    pair.connect()
    pair.ask("/after")
    pair.check({"unknown": 1})


def test_io_uring_on_the_way_out_of_another_call(pair, uring):
    """The kernel receives while the thread is in read() of a pipe, whose buffer holds something
    that looks like a request: it is not taken for what came."""
    pair.server(uring)
    data, bait = request("/received"), request("/bait")
    pair.server(f"r, w = os.pipe(); bait = ctypes.create_string_buffer({bait!r})\n"
                "out = []\n"
                "t = threading.Thread(target=lambda: out.append(lib.uring_recv_in_read(\n"
                f"    c.fileno(), buf, 4096, r, bait, {len(bait)}))); t.start()\n"
                "def waits():\n"
                "    with open(f'/proc/self/task/{t.native_id}/syscall') as f:\n"
                "        return f.read().split()[:2] == ['0', hex(r)]\n"
                "while not waits(): time.sleep(0.001)")
    pair.client(f"s.sendall({data!r})")
    pair.server("while select.select([c], [], [], 0)[0]: time.sleep(0.001)")
    assert pair.server("os.write(w, b'x'); t.join(); out[0]") == len(data)
    pair.answers()
    pair.want("GET", "/received", 200, 0, 2, ends="c")
    pair.ask("/after")
    pair.check()


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
        pair.client.post(f"s{n}.sendall({head!r}); [s{n}.sendall({junk!r}) for i in range(20)]; None")
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
