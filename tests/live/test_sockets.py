# SPDX-License-Identifier: Apache-2.0
"""Every system call that moves bytes through a TCP socket, in the ways that programs use it.

Each test drives a client and a server step by step; what they sent each other is the truth for the
spans of both ends, and every counter of losses must be what the test says.
"""

import os
import subprocess

import pytest

from pairs import collector, name, pair  # noqa: F401
from peers import PROGS, request, response

MIB = 1 << 20


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
    """A non-blocking socket that takes a part and then nothing; the client reads meanwhile."""
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
    first = request("/readv", "PUT", body=b"v" * 500)
    second = request("/recvmsg", "PUT", body=b"v" * 90)
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
    """A server that receives in no other way: its connection is counted as unknown in the end."""
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
