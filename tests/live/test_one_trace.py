# SPDX-License-Identifier: Apache-2.0
"""One request, one trace: what each span of a request through the stack must say.

The stack, and with it the API's pool, is older than the collector, except where a test says so.
Sizes, statuses and ports are compared with what the client and the processes know, never with what
Wirespan said before.
"""

import itertools
import os
import re
import socket
import subprocess

import pytest

import wait
from collector import BINARY, Collector
from tempo import CHAIN, by_hop, chain_faults

NGINX, NGINX_OUT, API, API_OUT, POSTGRES = CHAIN
numbers = itertools.count(1)


class Exchange:
    """A request with a rid of its own, its answer, and its trace."""

    def __init__(self, stack, tempo, method, path, body=None, headers=None, cnt=len(CHAIN)):
        self.rid = f"one-{next(numbers)}"
        target = path + ("&" if "?" in path else "?") + "rid=" + self.rid
        self.status, _, self.body = stack.request(method, target, body, headers)
        self.trace_id, self.spans = tempo.await_rid(self.rid, cnt)
        self.at = by_hop(self.spans)
        self.target = target

    def faults(self, http_name, sql_name, **more):
        return chain_faults(self.spans, [http_name] * 3 + [sql_name] * 2, **more)

    def attr(self, hop, key):
        return self.at[hop].attrs.get(key)

    def errors(self):
        return [hop for hop in CHAIN if self.at[hop].status == "ERROR"]


@pytest.fixture(scope="module")
def listed(stack, collector):
    return Exchange(stack, collector.tempo(), "GET", "/api/todos")


def subset(attrs, wanted):
    """The entries of `wanted` that attrs does not have like that, with what it has."""
    return {k: (v, attrs.get(k)) for k, v in wanted.items() if attrs.get(k) != v}


def test_list_is_five_spans(listed):
    assert listed.status == 200
    assert listed.faults("GET /api/todos", "SELECT todos") == []


def test_list_has_one_trace_only(listed, tempo):
    assert tempo.by_rid(listed.rid) == [listed.trace_id]


def test_id_begins_with_the_time(listed):
    """In 2^24 ns, so that the store's index grows at one place."""
    assert abs(int(listed.trace_id[:8], 16) - (listed.at[NGINX].start >> 24) % 2**32) <= 2


def test_body_sizes_are_true(listed):
    sizes = [listed.attr(hop, "http.response.body.size") for hop in CHAIN[:3]]
    assert sizes == [len(listed.body)] * 3


def test_nginx_server_span(listed, stack):
    assert subset(listed.at[NGINX].attrs, {
        "http.request.method": "GET",
        "url.path": "/api/todos",
        "url.query": "rid=" + listed.rid,
        "url.scheme": "http",
        "http.route": "/api/todos",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": stack.port,
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "wirespan-test",
    }) == {}


def test_nginx_client_span(listed, stack):
    at = listed.at[NGINX_OUT].attrs
    assert subset(at, {
        "http.request.method": "GET",
        "url.template": "/api/todos",
        "http.response.status_code": 200,
        "network.peer.address": "127.0.0.1",
        "network.peer.port": int(stack.env["API_PORT"]),
        "network.protocol.version": "1.1",
    }) == {}
    assert re.fullmatch(r"http://127\.0\.0\.1(:\d+)?" + re.escape(listed.target), at["url.full"])


def test_api_server_span(listed):
    assert subset(listed.at[API].attrs, {
        "http.request.method": "GET",
        "url.path": "/api/todos",
        "url.query": "rid=" + listed.rid,
        "http.route": "/api/todos",
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
    }) == {}


@pytest.mark.parametrize("hop", [API_OUT, POSTGRES], ids=["api", "postgres"])
def test_sql_spans(listed, hop):
    assert subset(listed.at[hop].attrs, {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.collection.name": "todos",
        "db.query.summary": "SELECT todos",
        "db.query.text": "SELECT id, title, done FROM todos ORDER BY id LIMIT ?",
        "db.response.returned_rows": 10,
    }) == {}


def test_sql_client_span_names_the_server(listed, stack):
    assert listed.attr(API_OUT, "network.peer.port") == int(stack.env["PG_PORT"])


def test_resources(listed, stack):
    for hop, program in zip(CHAIN, ("nginx", "nginx", "api", "api", "postgres")):
        r = listed.at[hop].resource
        assert subset(r, {"service.name": program, "process.executable.name": program,
                          "host.name": socket.gethostname()}) == {}
        assert os.path.basename(os.readlink(f"/proc/{r['process.pid']}/exe")) == program
        assert r["service.instance.id"] and r["telemetry.distro.name"]
    assert listed.at[API].resource["process.pid"] == int(stack.env["API_PID"])
    assert listed.at[API].resource["telemetry.sdk.language"] == "go"


def test_schema_url(listed):
    urls = {s.schema_url for s in listed.spans}
    assert len(urls) == 1
    assert re.fullmatch(r"https://opentelemetry\.io/schemas/\d+\.\d+\.\d+", urls.pop())


def test_pool_is_older_than_wirespan(stack, folder):
    """The connection that served the query was there before the collector started."""
    pg_port = int(stack.env["PG_PORT"])

    def clients():
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [line.split()[1:3] for line in f.readlines()[1:]]
        ends = [[int(end.split(":")[1], 16) for end in row] for row in rows]
        return {local for local, remote in ends if remote == pg_port}

    before = clients()
    with Collector(folder, "--open-ports", stack.ports, "--redact-query", "off") as c:
        x = Exchange(stack, c.tempo(), "GET", "/api/todos")
        assert x.faults("GET /api/todos", "SELECT todos") == []
        assert x.attr(POSTGRES, "network.peer.port") in before


def test_insert(stack, tempo):
    data = {"title": "eBPFを学ぶ"}
    x = Exchange(stack, tempo, "POST", "/api/todos", data)
    assert x.status == 201
    assert x.faults("POST /api/todos", "INSERT todos") == []
    sizes = {x.attr(hop, "http.request.body.size") for hop in CHAIN[:3]}
    assert sizes == {len('{"title": "eBPFを学ぶ"}'.encode())}
    assert {x.attr(hop, "http.response.body.size") for hop in CHAIN[:3]} == {len(x.body)}
    for hop in (API_OUT, POSTGRES):
        assert x.attr(hop, "db.query.text") == (
            "INSERT INTO todos (title, done) VALUES ($1, $2) RETURNING id, title, done")


def test_large_bodies(stack, tempo):
    x = Exchange(stack, tempo, "POST", "/api/todos", {"title": "x" * 50000})
    assert x.status == 201
    assert x.faults("POST /api/todos", "INSERT todos") == []
    assert {x.attr(hop, "http.request.body.size") for hop in CHAIN[:3]} == {50000 + 13}
    assert {x.attr(hop, "http.response.body.size") for hop in CHAIN[:3]} == {len(x.body)}


def test_read_change_delete_by_id(stack, tempo):
    for method, body, status, verb in (("GET", None, 200, "SELECT"),
                                       ("PUT", {"title": "t", "done": True}, 200, "UPDATE"),
                                       ("DELETE", None, 204, "DELETE")):
        x = Exchange(stack, tempo, method, "/api/todos/20", body)
        assert x.status == status
        assert x.faults(method + " /api/todos/{id}", verb + " todos") == []
        assert x.errors() == []


def test_health_has_no_query(stack, tempo):
    x = Exchange(stack, tempo, "GET", "/health", cnt=3)
    assert chain_faults(x.spans, ["GET /health"] * 3, hops=CHAIN[:3]) == []


def test_unknown_id_is_404(stack, tempo):
    x = Exchange(stack, tempo, "GET", "/api/todos/987654321")
    assert x.status == 404
    assert x.faults("GET /api/todos/{id}", "SELECT todos") == []
    assert [x.attr(hop, "http.response.status_code") for hop in CHAIN[:3]] == [404] * 3
    assert x.errors() == [NGINX_OUT]  # 4xx is an error to the client alone
    assert x.attr(API_OUT, "db.response.returned_rows") == 0


def test_refused_statement(stack, tempo):
    x = Exchange(stack, tempo, "GET", "/api/report?broken=1")
    assert x.status == 500
    assert x.faults("GET /api/report", "SELECT todo_totals") == []
    assert x.errors() == CHAIN
    assert {x.attr(hop, "error.type") for hop in CHAIN[:3]} == {"500"}
    for hop in (API_OUT, POSTGRES):
        assert subset(x.at[hop].attrs, {"db.response.status_code": "42P01",
                                        "error.type": "42P01"}) == {}


def test_traceparent_is_kept(stack, tempo):
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    x = Exchange(stack, tempo, "GET", "/api/todos",
                 headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    assert x.trace_id == trace_id
    assert x.faults("GET /api/todos", "SELECT todos", root_parent=parent) == []


def test_old_trace_does_not_grow(stack, tempo, listed):
    Exchange(stack, tempo, "GET", "/api/todos")
    assert len(tempo.trace(listed.trace_id)) == len(CHAIN)


def test_query_values_are_redacted_by_default(stack, folder):
    with Collector(folder, "--open-ports", stack.ports) as c:
        stack.request("GET", "/api/todos/4711?token=hush")
        tempo = c.tempo()
        q = '{ span.url.path = "/api/todos/4711" && resource.service.name = "api" }'
        ids = wait.until("the trace", lambda: tempo.search_ids(q))
        spans = wait.until("five spans", lambda: (lambda t: t if len(t) >= 5 else None)(
            tempo.trace(ids[0])))
        assert "hush" not in str([s.attrs for s in spans])
        assert "token=" in by_hop(spans)[NGINX].attrs["url.query"]


def test_selection_by_port(stack, folder):
    """Only the API is selected: its two spans, and the first of them is the root."""
    with Collector(folder, "--open-ports", stack.env["API_PORT"], "--redact-query", "off") as c:
        x = Exchange(stack, c.tempo(), "GET", "/api/todos", cnt=2)
        assert chain_faults(x.spans, hops=[API, API_OUT]) == []


def test_selection_by_executable(stack, folder):
    with Collector(folder, "--exe-path", stack.folder + "/a*", "--redact-query", "off") as c:
        x = Exchange(stack, c.tempo(), "GET", "/api/todos", cnt=2)
        assert chain_faults(x.spans, hops=[API, API_OUT]) == []


def test_no_selector_is_every_listener_but_wirespan(stack, folder):
    with Collector(folder, "--redact-query", "off") as c:
        tempo = c.tempo()
        for _ in range(2):  # the first one's search would be a span of ours by the second
            x = Exchange(stack, tempo, "GET", "/api/todos")
            assert x.faults("GET /api/todos", "SELECT todos") == []
        assert tempo.search("{ resource.process.pid = %d }" % c.pid) == []


class Shop:
    """A second API, started after the collector, under a name from its environment."""

    POOL = 10  # connections of the API's pool

    def __init__(self, stack, port):
        self.port = port
        env = {"OTEL_SERVICE_NAME": "shop", "API_LISTEN": f"127.0.0.1:{port}", "API_DSN":
               f"postgres://postgres@127.0.0.1:{stack.env['PG_PORT']}/todo?sslmode=disable"
               "&application_name=shop"}
        self.process = subprocess.Popen([os.path.join(stack.folder, "api")], env=env,
                                        stderr=subprocess.DEVNULL)

    def connect_anew(self, stack):
        """PostgreSQL ends its connections; every request finds at least one of the dead ones."""
        query = ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE application_name = 'shop'")
        subprocess.run(["psql", "-h", "127.0.0.1", "-p", stack.env["PG_PORT"], "-U", "postgres",
                        "-qXc", query], check=True, stdout=subprocess.DEVNULL)
        for n in range(self.POOL + 1):
            self.ask(f"shop-anew-{n}")

    def ask(self, rid):
        done = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                               f"http://127.0.0.1:{self.port}/api/todos?rid={rid}"],
                              check=True, stdout=subprocess.PIPE, text=True)
        return int(done.stdout)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        try:
            wait.until("the second API", self.listens)
        except wait.TimedOut:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait(10)


def test_process_that_starts_later(stack, folder):
    """Traced from when it listens, which is after it opened its pool. The database's name is in a
    connection's first message: PostgreSQL's spans have it at once, its own from the next on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ports = f"{port},{stack.env['PG_PORT']}"
    with Collector(folder, "--open-ports", ports, "--redact-query", "off") as c:
        with Shop(stack, port) as shop:
            assert shop.ask("shop-1") == 200
            shop.connect_anew(stack)
            assert shop.ask("shop-2") == 200
        _, old = c.tempo().await_rid("shop-1", 3)
        _, new = c.tempo().await_rid("shop-2", 3)
    hops = [("shop", "SERVER"), ("shop", "CLIENT"), POSTGRES]
    assert chain_faults(old, ["GET /api/todos", "SELECT todos", "SELECT todos"], hops) == []
    assert by_hop(old)[POSTGRES].attrs.get("db.namespace") == "todo"
    assert chain_faults(new, ["GET /api/todos", "SELECT todos", "SELECT todos"], hops) == []
    assert [by_hop(new)[hop].attrs.get("db.namespace") for hop in hops[1:]] == ["todo"] * 2


def tool(collector, *args):
    return subprocess.run([BINARY, *args, "--listen", f"127.0.0.1:{collector.port}"],
                          capture_output=True, text=True, check=False, timeout=30)


def test_trace_command(collector, listed):
    done = tool(collector, "trace", listed.trace_id)
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stdout.splitlines() if "GET /api/todos" in row or "SELECT" in row]
    assert len(rows) == len(CHAIN), done.stdout
    for row, hop in zip(rows, CHAIN):
        assert hop[0] in row


def test_trace_last_command(collector, stack, tempo):
    Exchange(stack, tempo, "GET", "/api/todos")
    done = tool(collector, "trace", "--last")
    assert done.returncode == 0, done.stderr
    assert "nginx" in done.stdout


def test_trace_command_unknown_id(collector):
    done = tool(collector, "trace", "1" * 32)
    assert done.returncode != 0
    assert done.stderr.strip()


def test_status_command(collector, listed):
    done = tool(collector, "status")
    assert done.returncode == 0, done.stderr
    for word in ("tp_btf/", "nginx", "api", "postgres"):
        assert word in done.stdout


def test_nothing_was_lost(tempo, listed):
    assert tempo.losses() == {}
