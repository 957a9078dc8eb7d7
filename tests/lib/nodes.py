# SPDX-License-Identifier: Apache-2.0
"""Two nodes on one machine: network namespaces with a wire between them, and a server and a client that
run there. Each node has a collector of its own, which traces what runs on it and nothing else.
"""

import contextlib
import ctypes
import os
import subprocess
import sys

import wait
from peers import PREFIX, await_traced
from programs import environment

PYTHON = "/usr/bin/python3"
ADDRESS = {"4": ("10.77.0.1", "10.77.0.2"), "6": ("fd77::1", "fd77::2")}

SERVICE = {"4": "10.99.0.1", "6": "fd99::1"}  # nobody's: each end may rewrite it to the other one's

SERVER = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    do_POST = do_GET
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
Server((sys.argv[1], 8095), Handler).serve_forever()
"""

# Reads lines "PATH BYTES NEW" and asks for each, on the last connection or on a new one.
CLIENT = """
import http.client, sys
conn = None
for line in sys.stdin:
    path, size, new = line.split()
    if conn is None or new == "1":
        conn = http.client.HTTPConnection(sys.argv[1], 8095, timeout=30)
    body = b"x" * int(size)
    conn.request("POST" if body else "GET", path, body or None)
    answer = conn.getresponse()
    assert answer.status == 200 and answer.read() == b"ok", answer.status
print("done")
"""


def ip(*args):
    subprocess.run(["ip", *args], check=True, stdout=sys.stderr)


def enter(ns):
    if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), 0):
        raise OSError(ctypes.get_errno(), "setns")


class Wire:
    """Namespaces a and b, and what connects them."""

    def __init__(self):
        self.names = [f"wst-{os.getpid()}-{end}" for end in "ab"]

    def __enter__(self):
        try:
            for name in self.names:
                ip("netns", "add", name)
            ip("-n", self.names[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire",
               "netns", self.names[1])
            for n, name in enumerate(self.names):
                ip("-n", name, "link", "set", "lo", "up")
                ip("-n", name, "addr", "add", ADDRESS["4"][n] + "/24", "dev", "wire")
                ip("-n", name, "addr", "add", ADDRESS["6"][n] + "/64", "dev", "wire", "nodad")
                ip("-n", name, "link", "set", "wire", "up")
                for family in "46":
                    ip("-n", name, "route", "add", SERVICE[family], "via", ADDRESS[family][1 - n])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)

    def args(self, end, *args):
        return ["ip", "netns", "exec", self.names[end], *args]

    @contextlib.contextmanager
    def inside(self, end):
        """What this thread opens meanwhile, it opens there."""
        with open("/proc/thread-self/ns/net", "rb") as here, open(f"/run/netns/{self.names[end]}", "rb") as there:
            enter(there)
            try:
                yield
            finally:
                enter(here)

    @contextlib.contextmanager
    def ruled(self, end, rules):
        """With a table of nftables, named test, at one end."""
        def nft(text):
            subprocess.run(self.args(end, "nft", "-f", "-"), input=text, text=True, check=True)
        nft("table inet test {" + rules + "}")
        try:
            yield
        finally:
            nft("delete table inet test")

    def service(self, end):
        """As kube-proxy does it: what this end sends to a Service's address goes to the other end, as if
        it came from another port."""
        there = {family: ADDRESS[family][1 - end] for family in "46"}
        here = {family: ADDRESS[family][end] for family in "46"}
        ours = "meta l4proto tcp ct status dnat"
        return self.ruled(end, (
            "chain out { type nat hook output priority -100; "
            f"ip daddr {SERVICE['4']} dnat ip to {there['4']}; "
            f"ip6 daddr {SERVICE['6']} dnat ip6 to {there['6']}; }};"
            "chain post { type nat hook postrouting priority 100; "
            f"ip daddr {there['4']} {ours} snat ip to {here['4']}:10000-20000; "
            f"ip6 daddr {there['6']} {ours} snat ip6 to [{here['6']}]:10000-20000; }};"))

    def answers(self, address):
        done = subprocess.run(self.args(0, PYTHON, "-c", "import socket, sys; "
                                        "socket.create_connection((sys.argv[1], 8095), 1)", address),
                              check=False, stderr=subprocess.DEVNULL)
        return done.returncode == 0


class Node:
    """A program at one end, traced by the collector of that end, if there is one."""

    def __init__(self, wire, end, collector, service, text, address):
        self.process = subprocess.Popen(
            wire.args(end, PYTHON, "-c", text, address), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment(service), start_new_session=True)
        try:
            if collector:
                await_traced(collector, self.process.pid)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        self.process.kill()
        self.process.communicate()


def ask(wire, collector, service, requests, address):
    """requests: (path, bytes of the body, on a new connection)"""
    with Node(wire, 0, collector, service, CLIENT, address) as client:
        out, _ = client.process.communicate(
            "".join(f"{path} {size} {int(new)}\n" for path, size, new in requests), timeout=120)
    assert out == "done\n", out


def spans_of(tempo, service, cnt):
    """{path: span} of a service, once there are so many."""
    found = {}

    def there():
        for trace_id in tempo.search_ids('{ resource.service.name = "%s" }' % (PREFIX + service)):
            for s in tempo.trace(trace_id):
                if s.service == PREFIX + service:
                    found[s.attrs.get("url.path") or "/" + s.attrs["url.full"].split("/", 3)[3]] = s
        return len(found) >= cnt

    wait.until(f"{cnt} spans of {service}", there, 30, 0.2)
    return found
