# SPDX-License-Identifier: Apache-2.0
"""What the gRPC tests say to a server: the messages of a request by field number, with grpcio for the
calls (its framing, not ours) and, for what no good client does, frames of HTTP/2 written by hand.
"""

import socket
import struct

import grpc

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
QUERIER = "/tempopb.StreamingQuerier/"
HEALTH = "/grpc.health.v1.Health/Check"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA, RST_STREAM, PING, GOAWAY, WINDOW_UPDATE = 4, 1, 0, 3, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def message(**fields):
    """f1=..: field number to int, str, bytes, or a list of those."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        for v in value if isinstance(value, list) else [value]:
            if isinstance(v, int):
                out += varint(number << 3) + varint(v)
            else:
                v = v.encode() if isinstance(v, str) else v
                out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


class Client:
    def __init__(self, port, compression=None, metadata=None):
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", compression=compression,
            options=[("grpc.max_send_message_length", -1),
                     ("grpc.max_receive_message_length", -1),
                     ("grpc.use_local_subchannel_pool", 1)])
        self.metadata = metadata

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.channel.close()

    def unary(self, method, body, timeout=30):
        return self.channel.unary_unary(method)(body, timeout=timeout, metadata=self.metadata)

    def stream(self, method, body, timeout=30):
        return self.channel.unary_stream(method)(body, timeout=timeout, metadata=self.metadata)

    def query(self, name, body):
        """The messages of the answer."""
        return list(self.stream(QUERIER + name, body))


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def call_headers(path, stream=1, flags=END_HEADERS):
    assert len(path) < 127
    return frame(HEADERS, flags, stream,
                 b"".join(literal(k, v) for k, v in (
                     (":method", "POST"), (":scheme", "http"), (":path", path),
                     (":authority", "localhost"), ("content-type", "application/grpc"),
                     ("te", "trailers"))))


def call_body(body, stream=1):
    return frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(body)) + body)


class Raw:
    """A socket that speaks just enough of HTTP/2."""

    def __init__(self, port, timeout=60):
        self.s = socket.create_connection(("127.0.0.1", port), timeout)
        self.buf = b""

    def hello(self, window=None):
        settings = b"" if window is None else struct.pack(">HI", 4, window)
        self.s.sendall(PREFACE + frame(SETTINGS, payload=settings))
        return self

    def read(self):
        """The next frame: (kind, flags, stream, payload); None at the end of the connection."""
        while len(self.buf) < 9 or len(self.buf) < 9 + int.from_bytes(self.buf[:3], "big"):
            try:
                got = self.s.recv(65536)
            except ConnectionResetError:
                got = b""
            if not got:
                return None
            self.buf += got
        n = 9 + int.from_bytes(self.buf[:3], "big")
        head, self.buf = self.buf[:n], self.buf[n:]
        return head[3], head[4], int.from_bytes(head[5:9], "big"), head[9:]

    def read_until(self, kinds, stream=None):
        while True:
            got = self.read()
            if got is None or (got[0] in kinds and stream in (None, got[2])):
                return got

    def close(self):
        self.s.close()
