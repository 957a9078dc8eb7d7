# SPDX-License-Identifier: Apache-2.0
"""Programs that everybody runs, as they are: nginx, curl, ab, Python's http.server, Node.

The truth is nginx's access log and what the clients themselves say that they sent and received.
"""

import collections
import http.client
import json
import os
import re
import shutil
import signal
import subprocess

import pytest

import wait
from collector import free_port
from pairs import collector, name  # noqa: F401
from peers import PREFIX, PROGS, Losses, await_traced, request
from programs import Server, await_rows, differences, environment, run_client

MIB = 1 << 20
CONF = """
daemon off;
worker_processes 2;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log;
events { worker_connections 512; }
http {
    log_format truth escape=json
        '["$request_method", "$uri", $status, "$content_length", $body_bytes_sent]';
    access_log %(folder)s/access.log truth;
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    server {
        listen 127.0.0.1:%(port)d;
        root %(folder)s;
        location /files/ { }
        location /zipped/ { alias %(folder)s/files/; gzip on; gzip_types *; gzip_min_length 0; }
        location = /nothing { return 204; }
        location = /said { return 200 "said\\n"; }
    }
}
"""


class Nginx:
    def __init__(self, collector, folder, service, unseen=False):
        self.folder, self.port, self.service = folder, free_port(), f"nginx-{service}"
        os.chmod(folder, 0o755)
        # nginx writes its title over its environment, so that its name must be its executable's.
        program = shutil.copy("/usr/sbin/nginx", os.path.join(folder, PREFIX + self.service))
        os.mkdir(os.path.join(folder, "files"))
        for name, size in (("small", 612), ("page", 70000), ("large", 20 * MIB), ("empty", 0)):
            with open(os.path.join(folder, "files", name), "wb") as f:
                f.write((b"%s of %d bytes\n" % (name.encode(), size) * size)[:size])
        with open(os.path.join(folder, "conf"), "w", encoding="ascii") as f:
            f.write(CONF % {"folder": folder, "port": self.port})
        self.tempo = collector.tempo()
        self.server = Server(collector, self.service, self.port,
                             [program, "-p", folder, "-c", os.path.join(folder, "conf"),
                              "-e", os.path.join(folder, "error.log")],
                             os.path.join(folder, "out"), signal.SIGQUIT, 2, unseen)
        self.losses = Losses(self.tempo)

    def log(self, cnt):
        """Rows as programs.http_rows makes them, once there are cnt."""
        path = os.path.join(self.folder, "access.log")

        def rows():
            with open(path, encoding="utf-8") as f:
                entries = [json.loads(line) for line in f if line.endswith("\n")]
            return [(m, u, s, int(c or 0), b) for m, u, s, c, b in entries]

        wait.until(f"{cnt} rows in the access log", lambda: len(rows()) >= cnt, 20)
        return rows()


@pytest.fixture
def nginx(collector, folder, name):
    n = Nginx(collector, folder, name)
    yield n
    n.server.stop()


def check(tempo, service, truth):
    faults = differences(await_rows(tempo, service, truth), truth)
    if faults:
        raise AssertionError("\n".join(faults))


def get(conn, method, path, headers=None):
    conn.request(method, path, None, headers or {})
    answer = conn.getresponse()
    return answer.status, len(answer.read()), answer.headers


def post_at_once(conn, path):
    """Head and body in one piece: nginx answers these without waiting for the body, and a server's
    span tells what had been read when the response was out."""
    conn.sock.sendall(request(path, "POST", body=b"p" * 500))
    answer = http.client.HTTPResponse(conn.sock, method="POST")
    answer.begin()
    return answer.status, len(answer.read())


def test_nginx(nginx):
    """Static files by sendfile, HEAD, 204, 304, ranges, errors, all over one connection; then gzip,
    whose bytes only the client can count, since nginx logs the chunks' frames too."""
    conn = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
    _, _, headers = get(conn, "GET", "/files/small")
    for name in ("page", "large", "empty", "missing"):
        get(conn, "GET", "/files/" + name)
    get(conn, "HEAD", "/files/large")
    get(conn, "GET", "/nothing")
    get(conn, "GET", "/files/page", {"If-Modified-Since": headers["Last-Modified"]})
    get(conn, "GET", "/files/large", {"Range": "bytes=1000-3999999"})
    post_at_once(conn, "/files/small")
    post_at_once(conn, "/said")
    get(conn, "DELETE", "/files/small")
    truth = nginx.log(12)
    assert collections.Counter(s for _, _, s, _, _ in truth) == {
        200: 6, 404: 1, 204: 1, 304: 1, 206: 1, 405: 2}
    for name in ("small", "page", "large"):
        status, size, headers = get(conn, "GET", "/zipped/" + name, {"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip" and headers["Transfer-Encoding"] == "chunked"
        truth.append(("GET", "/zipped/" + name, status, 0, size))
    conn.close()
    check(nginx.tempo, nginx.service, truth)
    assert nginx.losses.since() == {}


def test_forked_unseen(collector, folder, name):
    """The workers are there before the collector has looked at what their parent is."""
    nginx = Nginx(collector, folder, name, unseen=True)
    try:
        for _ in range(10):
            conn = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
            get(conn, "GET", "/said")
            conn.close()
        check(nginx.tempo, nginx.service, nginx.log(10))
        assert nginx.losses.since() == {}
    finally:
        nginx.server.stop()


def test_slow_reader(nginx):
    """nginx's sends take a part, again and again."""
    conn = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
    conn.request("GET", "/files/large")
    answer, got = conn.getresponse(), 0
    while block := answer.read1(30000):
        got += len(block)
    conn.close()
    assert got == 20 * MIB
    check(nginx.tempo, nginx.service, [("GET", "/files/large", 200, 0, got)])
    assert nginx.losses.since() == {}


def test_curl(collector, nginx):
    """Both ends: what curl says of each transfer, and what nginx logged."""
    told = []
    for n, (path, more) in enumerate([("files/small", ""), ("nothing", ""), ("files/large", ""),
                                      ("files/page", 'request = "HEAD"\nno-body\n'),
                                      ("said", 'data = "a=b&c=d"\n'), ("files/missing", "")]):
        told.append(f'url = "http://127.0.0.1:{nginx.port}/{path}?n={n}"\noutput = "/dev/null"\n'
                    'write-out = "%{method} /' + path + ' %{http_code} %{size_upload} '
                    '%{size_download}\\n"\n' + more.replace("no-body", "head").replace(
                        'request = "HEAD"\n', ""))
    out = run_client(collector, "curl", ["curl", "-s", "-K", "-"], "next\n".join(told))
    rows = [(m, p, *map(int, rest)) for m, p, *rest in map(str.split, out.splitlines())]
    assert len(rows) == len(told)
    assert sorted(rows) == sorted(nginx.log(len(told)))
    check(nginx.tempo, "curl", rows)
    assert nginx.losses.since() == {}


def test_ab(collector, nginx, folder):
    """ab waits for the (empty) body that it posts, so that it is traced when it begins; then it
    fetches a file, which is the server's business alone."""
    cnt, fifo, url = 2000, os.path.join(folder, "fifo"), f"http://127.0.0.1:{nginx.port}"
    os.mkfifo(fifo)
    ab = subprocess.Popen(["ab", "-q", "-k", "-n", str(cnt), "-c", "8", "-p", fifo, url + "/said"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment("ab"))
    try:
        await_traced(collector, ab.pid)
        with open(fifo, "wb"):
            pass
        out, _ = ab.communicate(timeout=60)
    finally:
        ab.kill()
        ab.wait()
    assert ab_complete(out) == cnt
    truth = [("POST", "/said", 200, 0, 5)] * cnt
    check(nginx.tempo, "ab", truth)
    out = subprocess.run(["ab", "-q", "-n", str(cnt // 4), "-c", "8", url + "/files/page"],
                         check=True, capture_output=True, text=True, timeout=60).stdout
    assert ab_complete(out) == cnt // 4
    truth += [("GET", "/files/page", 200, 0, 70000)] * (cnt // 4)
    assert sorted(nginx.log(len(truth))) == sorted(truth)
    check(nginx.tempo, nginx.service, truth)
    assert nginx.losses.since() == {}


def ab_complete(out):
    assert re.search(r"Failed requests:\s+0\n", out), out
    return int(re.search(r"Complete requests:\s+(\d+)", out)[1])


def test_python_http_server(collector, folder):
    port, tempo = free_port(), collector.tempo()
    losses = Losses(tempo)
    with open(os.path.join(folder, "hello"), "wb") as f:
        f.write(b"h" * 123456)
    truth = []
    with Server(collector, "python", port,
                ["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", "-d", folder,
                 str(port)], os.path.join(folder, "log")):
        for method, path in (("GET", "/hello"), ("HEAD", "/hello"), ("GET", "/none"), ("PUT", "/x"),
                             ("GET", "/")) * 5:
            conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            status, size, _ = get(conn, method, path)
            conn.close()
            truth.append((method, path, status, 0, size))
        check(tempo, "python", truth)
    assert losses.since() == {}


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_node(collector, folder):
    port, tempo = free_port(), collector.tempo()
    losses = Losses(tempo)
    script = os.path.join(PROGS, "web.js")
    with Server(collector, "node", port, ["node", script, "server", str(port)],
                os.path.join(folder, "log")):
        out = run_client(collector, "node-client", ["node", script, "client", str(port)], "go\n")
        truth = [tuple(json.loads(line)) for line in out.splitlines()]
        assert len(truth) == 100
        for service in ("node", "node-client"):
            check(tempo, service, truth)
    assert losses.since() == {}
