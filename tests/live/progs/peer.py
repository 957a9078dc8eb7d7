# SPDX-License-Identifier: Apache-2.0
"""One end of a connection that a test drives step by step (tests/lib/peers.py is the other side).

Reads one Python text a line (as its repr), runs it in one and the same namespace, and answers with
the repr of ("ok", value of the last expression) or ("error", traceback). Knows nothing of Wirespan.
What the tests rely on: `take` reads exactly so many bytes, `give` writes all of them, and both say
how many there were.
"""

import ast
import ctypes
import os
import select
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback

STEP = 1 << 20


def take(sock, n, step=STEP):
    """Reads exactly n bytes; what they were, when they are few."""
    buf, got = bytearray(min(step, n)), 0
    while got < n:
        k = sock.recv_into(buf, min(step, n - got))
        if not k:
            raise EOFError(f"{got} of {n} bytes")
        got += k
    return bytes(buf[:n]) if n <= 4096 and step >= n else n


def drain(sock):
    """Reads until the end of the stream: how many bytes."""
    got, buf = 0, bytearray(STEP)
    while k := sock.recv_into(buf):
        got += k
    return got


def give(sock, n, byte=b"x"):
    """Writes n bytes with ordinary sends."""
    block, left = byte * min(n, STEP), n
    while left:
        left -= sock.send(block[:left])
    return n


def zeros(n):
    """An open file of n bytes that takes no room."""
    f = tempfile.TemporaryFile()
    f.truncate(n)
    return f


def give_file(sock, n):
    """Writes n bytes with sendfile."""
    sent = 0
    with zeros(n) as f:
        while sent < n:
            sent += os.sendfile(sock.fileno(), f.fileno(), sent, n - sent)
    return sent


def splice_in(sock, n):
    """Reads n bytes into a pipe, and from there into nothing."""
    got, (r, w), null = 0, os.pipe(), os.open(os.devnull, os.O_WRONLY)
    while got < n:
        k = os.splice(sock.fileno(), w, n - got)
        left = k
        while left:
            left -= os.splice(r, null, left)
        got += k
    for fd in (r, w, null):
        os.close(fd)
    return got


def splice_out(sock, data):
    """Writes data out of a pipe."""
    r, w = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(w, data), os.close(w)))
    writer.start()
    sent = 0
    while sent < len(data):
        sent += os.splice(r, sock.fileno(), len(data) - sent)
    writer.join()
    os.close(r)
    return sent


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint),
                ("iov", ctypes.POINTER(Iovec)), ("iovlen", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


def vectors(messages):
    """struct mmsghdr[] of the messages, each a list of byte strings."""
    out = (Mmsghdr * len(messages))()
    for at, pieces in zip(out, messages):
        at.hdr.iov = (Iovec * len(pieces))(*[Iovec(p, len(p)) for p in pieces])
        at.hdr.iovlen = len(pieces)
    return out


def sendmmsg(sock, messages):
    return ctypes.CDLL(None).sendmmsg(sock.fileno(), vectors(messages), len(messages), 0)


def recvmmsg(sock, sizes):
    """One call that fills buffers of these sizes; the bytes of each message."""
    bufs = [bytes(n) for n in sizes]
    v = vectors([[b] for b in bufs])
    n = ctypes.CDLL(None).recvmmsg(sock.fileno(), v, len(v), 0, None)
    return [v[i].len for i in range(n)]


def fill(sock, block):
    """Writes as often as a non-blocking socket takes something: how many bytes."""
    sent = 0
    sock.setblocking(False)
    try:
        while True:
            sent += sock.send(block)
    except BlockingIOError:
        return sent


def give_when_ready(sock, data):
    """Writes data to a non-blocking socket, waiting for room: how many sends took only a part."""
    sent = partial = 0
    while sent < len(data):
        try:
            n = sock.send(data[sent:])
        except BlockingIOError:
            select.select([], [sock], [])
            continue
        partial += n < len(data) - sent
        sent += n
    return partial


def reset(sock):
    """Close with a reset instead of the usual farewell."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def run(text, names):
    body = ast.parse(text).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "step", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "step", "eval"), names)


def main():
    names = globals()
    for line in sys.stdin:
        try:
            answer = ("ok", run(ast.literal_eval(line), names))
        except Exception:
            answer = ("error", traceback.format_exc())
        print(repr(answer), flush=True)
    os._exit(0)  # whatever threads still wait for


if __name__ == "__main__":
    main()
