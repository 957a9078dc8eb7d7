# SPDX-License-Identifier: Apache-2.0
"""Traces that go on to another node by a traceparent in the request: two collectors with two stores, in
two network namespaces; at one end clients and an nginx, at the other a server that writes down each
head as it came.

The truth is at the other end: heads there are those that the clients made, and nothing but one
traceparent more; the sums of all bodies, both ways, are those of what was sent. On a kernel that miscounts
what a socket in a map has to read, headers are refused, and that is tested instead.
"""

import hashlib
import json
import os
import re
import subprocess

import pytest
import wait

from collector import Collector
from nodes import ADDRESS, PYTHON, Node, Wire, spans_of
from peers import PREFIX, await_traced
from programs import environment

ON = ("--propagation-headers", "on")
OPTION = ("--propagation-tcp-option", "on")
BODIES = int(os.environ.get("LIVE_BODIES", 500 if wait.SLOW > 1 else 10000))
LARGEST = 200000
PROXY_PORT = 8096
ADDRESS_A, ADDRESS_B = ADDRESS["4"]
GIVEN = "00-%032x-%016x-01"

# The body of the n-th request or answer: any length, any bytes, and the same on both sides.
BODY = """
import hashlib, random
def body(n, most):
    r = random.Random(n)
    return r.randbytes(r.choice((0, 1, r.randrange(2000), r.randrange(20000), r.randrange(most))))
"""

# Says of each request, in a line of JSON: head, length and sum of its body. Answers with bytes of its own.
SERVER = BODY + """
import json, socket, sys, threading
def serve(s):
    f = s.makefile("rb")
    while True:
        lines = []
        while (line := f.readline()) not in (b"\\r\\n", b""):
            lines.append(line.decode("latin-1"))
        if not lines:
            return
        fields = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        if "chunked" in fields.get("transfer-encoding", ""):
            got = b""
            while n := int(f.readline(), 16):
                got += f.read(n)
                f.readline()
            f.readline()
        else:
            got = f.read(int(fields.get("content-length", 0)))
        path = lines[0].split()[1]
        with lock:
            print(json.dumps([path, lines, len(got), hashlib.sha256(got).hexdigest()]), flush=True)
        own = body(path + "r", MOST) if path.startswith("/body") else b"ok"
        s.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(own) + own)
MOST = int(sys.argv[2])
lock = threading.Lock()
with socket.create_server((sys.argv[1], 8095), backlog=128) as l:
    while True:
        threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
"""

# Reads a program's text of one line (as its repr), runs it, says "done".
CLIENT = BODY + """
import ast, http.client, socket, sys
def connect(port=8095):
    return http.client.HTTPConnection(sys.argv[1], port, timeout=60)
def ask(c, method, path, data=None, headers={}):
    c.request(method, path, data, headers)
    answer = c.getresponse()
    got = answer.read()
    assert answer.status == 200, answer.status
    return got
exec(ast.literal_eval(sys.stdin.readline()))
print("done")
"""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_max_body_size 0; proxy_request_buffering {buffering};
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream back {{ server {back}:8095; keepalive 8; }}
    server {{
        listen {port};
        location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


def node(folder, name, *args):
    return Collector(os.path.join(folder, name), "--name", f"{PREFIX}{name}*", *args)


def refusal(collector):
    """What status says of it, if the kernel does not let us."""
    state = collector.tempo().get_json("/status")["notes"]["providers"]["headers: sk_msg"]
    return None if state == "in use" else state


@pytest.fixture(scope="module")
def wire():
    with Wire() as w:
        yield w


@pytest.fixture(scope="module")
def nodes(module_folder):
    with node(module_folder, "ha", *ON) as a, node(module_folder, "hb", *ON) as b:
        yield a, b


@pytest.fixture
def able(nodes):
    why = refusal(nodes[0])
    if why:
        pytest.skip(f"this kernel cannot: {why[:60]}")
    return nodes


class Back:
    """The server of end b; heads is what it said: {path: (lines, length, sum)}."""

    def __init__(self, wire, collector, service, folder):
        self.out = os.path.join(folder, "heads")
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                wire.args(1, PYTHON, "-c", SERVER, ADDRESS_B, str(LARGEST)), stdout=out,
                env=environment(service), start_new_session=True)
        if collector:
            await_traced(collector, self.process.pid)
        wait.until("the server", lambda: wire.answers(ADDRESS_B), 15)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()

    def heads(self):
        with open(self.out, encoding="ascii") as f:
            rows = [json.loads(line) for line in f]
        assert len(rows) == len({r[0] for r in rows}), "a request came twice"
        return {r[0]: r[1:] for r in rows}


class Proxy:
    """nginx at end a, before the server of end b."""

    def __init__(self, wire, collector, service, folder, buffering="on"):
        conf = os.path.join(folder, "nginx.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(NGINX.format(folder=folder, back=ADDRESS_B, port=PROXY_PORT, buffering=buffering))
        self.process = subprocess.Popen(
            wire.args(0, "nginx", "-c", conf, "-p", folder, "-g", "user root;"),
            env=environment(service), start_new_session=True)
        await_traced(collector, self.process.pid)
        wait.until("nginx", lambda: subprocess.run(
            wire.args(0, PYTHON, "-c", "import socket; "
                      f"socket.create_connection(('127.0.0.1', {PROXY_PORT}), 1)"),
            check=False, stderr=subprocess.DEVNULL).returncode == 0, 15)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(15)


def run(wire, collector, service, text, address=ADDRESS_B, seconds=1200):
    with Node(wire, 0, collector, service, CLIENT, address) as client:
        out, _ = client.process.communicate(repr(text) + "\n", timeout=seconds)
    assert out.endswith("done\n"), out
    return out


def traceparents(lines):
    return [x.split(":", 1)[1].strip() for x in lines if x.lower().startswith("traceparent:")]


def assert_header(lines, span):
    """The one header of a request is the second line, and names the client's span."""
    assert traceparents(lines) == [f"00-{span.trace_id}-{span.id}-01"]
    assert lines[1].startswith("traceparent: ")


class Lost:
    """What collectors lose from now on."""

    def __init__(self, *collectors):
        self.collectors = collectors
        self.before = self.all()

    def all(self):
        return [c.tempo().losses() for c in self.collectors]

    def since(self):
        out = {}
        for before, now in zip(self.before, self.all()):
            for k, v in now.items():
                out[k] = out.get(k, 0) + v - before.get(k, 0)
        return {k: v for k, v in out.items() if v}


def test_refused_or_in_use(nodes):
    """The truth is what this kernel says of a socket of ours in a map, which the agent alone can try: it
    either works, or there is a sentence in the log and in status, and the rest goes on."""
    for c in nodes:
        why = refusal(c)
        if why:
            assert "propagation.headers is refused" in c.log()
            assert "FIONREAD" in why and why.startswith("refused: ")
        else:
            assert "refused" not in c.log()
        assert c.is_ready()


def test_refused_goes_on(wire, nodes, folder):
    """Where it is refused, requests go as they are and have their spans."""
    a, b = nodes
    if not refusal(a):
        pytest.skip("this kernel can")
    with Back(wire, b, "hb-plain", folder) as back:
        run(wire, a, "ha-plain", "c = connect()\nfor n in range(20): ask(c, 'GET', '/p%d' % n)")
        spans_of(a.tempo(), "ha-plain", 20)
        servers = spans_of(b.tempo(), "hb-plain", 20)
        assert {s.attrs["wirespan.parent"] for s in servers.values()} == {"none"}
        assert not any(traceparents(lines) for lines, _, _ in back.heads().values())


def test_off(wire, folder):
    """As long as nobody switches it on, no byte is added."""
    with node(folder, "hc") as a, Back(wire, None, "plain", folder) as back:
        run(wire, a, "hc-off", "ask(connect(), 'GET', '/off')")
        assert traceparents(back.heads()["/off"][0]) == []
        assert "headers: sk_msg" not in a.tempo().get_json("/status")["notes"]["providers"]


def test_joined(wire, able, folder):
    """On one connection and on new ones, with bodies before and after: the parent is the client's span."""
    a, b = able
    lost = Lost(a, b)
    text = """
c = connect()
for n in range(60):
    ask(c, 'GET', '/j%d' % n)
    ask(c, 'POST', '/u%d' % n, b'x' * (n * n * 20))
for n in range(30):
    ask(connect(), 'GET', '/n%d' % n)
"""
    with Back(wire, b, "hb-joined", folder) as back:
        run(wire, a, "ha-joined", text)
        clients = spans_of(a.tempo(), "ha-joined", 150)
        servers = spans_of(b.tempo(), "hb-joined", 150)
        heads = back.heads()
        for path, c in clients.items():
            s = servers[path]
            assert_header(heads[path][0], c)
            assert (s.trace_id, s.parent, s.attrs["wirespan.parent"]) == (c.trace_id, c.id, "header"), path
        for n in range(60):
            sizes = {s.attrs.get("http.request.body.size", 0) for s in
                     (clients[f"/u{n}"], servers[f"/u{n}"])}
            assert sizes == {n * n * 20}
    assert lost.since() == {}


def test_of_the_program(wire, able, folder):
    """A traceparent that the program sends stays as it is, whatever its case, its place and its form."""
    a, b = able
    lost = Lost(a, b)
    given = {f"/g{n}": GIVEN % (n + 1, n + 77) for n in range(4)}
    text = f"""
c = connect()
for n, name in enumerate(('traceparent', 'Traceparent', 'TRACEPARENT', 'TraceParent')):
    ask(c, 'GET', '/g%d' % n, None, {{'X-A': 'b' * 1500 * n, name: {GIVEN!r} % (n + 1, n + 77)}})
ask(c, 'GET', '/odd', None, {{'traceparent': 'not one'}})
ask(c, 'GET', '/after')
"""
    with Back(wire, b, "hb-own", folder) as back:
        run(wire, a, "ha-own", text)
        clients = spans_of(a.tempo(), "ha-own", 6)
        servers = spans_of(b.tempo(), "hb-own", 6)
        heads = back.heads()
        for path, value in given.items():
            assert traceparents(heads[path][0]) == [value]
            for s in (clients[path], servers[path]):
                assert [s.trace_id, s.parent] == value.split("-")[1:3], path
        assert traceparents(heads["/odd"][0]) == ["not one"]
        assert_header(heads["/after"][0], clients["/after"])
    assert lost.since() == {}


def test_what_cannot_be_carried(wire, able, folder):
    """Left as it is, understood all the same, and counted by its reason."""
    a, b = able
    lost = Lost(a, b)
    text = """
s = socket.create_connection((sys.argv[1], 8095))
f = s.makefile('rb')
def take(n):
    for _ in range(n):
        while f.readline() != b'\\r\\n': pass
        assert f.read(2) == b'ok'
def head(path, more=''):
    return ('GET %s HTTP/1.1\\r\\nHost: x\\r\\n%s\\r\\n' % (path, more)).encode()
s.sendall(head('/p1') + head('/p2') + head('/p3')); take(3)
h = head('/split')
s.sendall(h[:20])
import time; time.sleep(0.2)
s.sendall(h[20:]); take(1)
s.sendall(head('/' + 'l' * 1900)); take(1)
s.sendall(b'GET /bare HTTP/1.1\\nHost: x\\r\\n\\r\\n'); take(1)
s.sendall(head('/good', 'X-Y: ' + 'z' * 3000 + '\\r\\n')); take(1)
"""
    with Back(wire, b, "hb-not", folder) as back:
        run(wire, a, "ha-not", text)
        clients = spans_of(a.tempo(), "ha-not", 7)
        servers = spans_of(b.tempo(), "hb-not", 7)
        heads = back.heads()
        assert set(clients) == set(servers)
        assert_header(heads["/good"][0], clients["/good"])
        assert {p for p in heads if traceparents(heads[p][0])} == {"/good"}
    assert lost.since() == {"header_pipelined": 3, "header_split": 1, "header_unfit": 2}


def test_other_ways_to_send(wire, folder):
    """sendfile, splice and vectors: every byte comes as it was."""
    text = """
import os, tempfile
data = body('file', 400000) + b'y' * 100000
f = tempfile.TemporaryFile(); f.write(data); f.flush()
def head(path): return b'PUT %s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n' % (path, len(data))
s = socket.create_connection((sys.argv[1], 8095)); r = s.makefile('rb')
def take():
    while r.readline() != b'\\r\\n': pass
    assert r.read(2) == b'ok'
def send(path):
    off = 0
    s.sendall(head(path))
    while off < len(data): off += os.sendfile(s.fileno(), f.fileno(), off, len(data) - off)
    take()
send(b'/sendfile')
s.sendall(head(b'/splice')); off = 0; p = os.pipe()
while off < len(data):
    n = os.splice(f.fileno(), p[1], 65536, offset_src=off); off += n
    while n: n -= os.splice(p[0], s.fileno(), n)
take()
v = [head(b'/vector')] + [data[i:i + 1000] for i in range(0, len(data), 1000)]
left = b''.join(v[500:]); n = s.sendmsg(v[:500]); sent = sum(map(len, v[:500])); assert n == sent
s.sendall(left); take()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
s.setblocking(False)
whole, off = head(b'/again') + data, 0
import select
while off < len(whole):
    select.select([], [s], [])
    try: off += s.send(whole[off:off + 300000])
    except BlockingIOError: pass
s.setblocking(True); take()
print(len(data), hashlib.sha256(data).hexdigest())
"""
    with node(folder, "hd", *ON) as a, Back(wire, None, "plain", folder) as back:
        why = refusal(a)
        out = run(wire, a, "hd-ways", text)
        length, sha = out.split()[:2]
        clients = spans_of(a.tempo(), "hd-ways", 4)
        for path, (lines, n, got) in back.heads().items():
            assert (n, got) == (int(length), sha), path
            if not why:
                assert_header(lines, clients[path])
            assert clients[path].attrs["http.request.body.size"] == int(length)
        assert a.tempo().losses() == {}


def assert_hops(a, b, client, proxy, server, cnt):
    """client → nginx (in, out) → server, one below the other."""
    clients, servers = spans_of(a.tempo(), client, cnt), spans_of(b.tempo(), server, cnt)
    for path, c in clients.items():
        s = servers[path]
        trace = {x.id: x for x in a.tempo().trace(c.trace_id)}
        out = trace[s.parent]
        assert (s.trace_id, out.service) == (c.trace_id, PREFIX + proxy), path
        assert trace[out.parent].parent == c.id and trace[out.parent].service == PREFIX + proxy, path
        yield path, out


def test_through_nginx(wire, able, folder):
    """The client's header reaches nginx, which passes it on: it then names nginx's call, not the client's."""
    a, b = able
    lost = Lost(a, b)
    text = f"""
c = connect({PROXY_PORT})
for n in range(40):
    ask(c, 'GET', '/x%d' % n)
    ask(c, 'POST', '/y%d' % n, b'x' * n * 1000)
"""
    with Back(wire, b, "hb-behind", folder) as back, Proxy(wire, a, "ha-nginx", folder):
        run(wire, a, "ha-before", text, "127.0.0.1")
        heads = back.heads()
        for path, out in assert_hops(a, b, "ha-before", "ha-nginx", "hb-behind", 80):
            assert traceparents(heads[path][0]) == [f"00-{out.trace_id}-{out.id}-01"], path
    assert lost.since() == {}


def test_with_the_tcp_option(wire, able, folder):
    """Both at once agree."""
    with node(folder, "he", *ON, *OPTION) as a, node(folder, "hf", *ON, *OPTION) as b, \
            Back(wire, b, "hf-both", folder) as back:
        lost = Lost(a, b)
        run(wire, a, "he-both", "c = connect()\nfor n in range(50): ask(c, 'GET', '/b%d' % n)")
        clients, servers = spans_of(a.tempo(), "he-both", 50), spans_of(b.tempo(), "hf-both", 50)
        heads = back.heads()
        for path, c in clients.items():
            assert_header(heads[path][0], c)
            assert (servers[path].trace_id, servers[path].parent) == (c.trace_id, c.id)
        assert lost.since() == {}


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_bytes(wire, able, folder, buffering):
    """Uploads and responses of any size through nginx, each with its sum at both ends."""
    a, b = able
    lost = Lost(a, b)
    cnt = BODIES // 2
    text = f"""
import threading
bad = []
def work(which):
    c = connect({PROXY_PORT})
    for n in range(which, {cnt}, 4):
        path = '/body/%d' % n
        data = body(path, {LARGEST})
        chunks = (data[i:i + 7000] for i in range(0, len(data), 7000)) if n % 3 == 0 else data
        got = ask(c, 'POST', path, chunks)
        if got != body(path + 'r', {LARGEST}): bad.append(path)
all = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for t in all: t.start()
for t in all: t.join()
assert not bad, bad
"""
    scope = {}
    exec(BODY, scope)  # pylint: disable=exec-used
    with Back(wire, b, f"hb-bytes-{buffering}", folder) as back, \
            Proxy(wire, a, f"ha-proxy-{buffering}", folder, buffering):
        run(wire, a, f"ha-bytes-{buffering}", text, "127.0.0.1")
        heads = back.heads()
        assert len(heads) == cnt
        for path, (lines, length, sha) in heads.items():
            data = scope["body"](path, LARGEST)
            assert (length, sha) == (len(data), hashlib.sha256(data).hexdigest()), path
            assert len(traceparents(lines)) == 1, path
            assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", traceparents(lines)[0]), path
    assert lost.since() == {}
