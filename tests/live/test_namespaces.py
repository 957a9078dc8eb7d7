# SPDX-License-Identifier: Apache-2.0
"""One node, two network namespaces: the ends of an exchange find each other whatever the addresses say.

HTTP goes from namespace a to b, PostgreSQL from b to a, by IPv4, IPv6 and mapped addresses, directly and
through a Service's address that nftables rewrites at both sides of the conversation. Connections are
old (older than the collector) and new. The truth is what the programs here sent; then nginx's log, of wrk.
"""

import contextlib
import os

import pytest

import load
import wait
from collector import Collector
from nodes import ADDRESS, SERVICE, Wire
from peers import PREFIX, Pair, Peer, await_traced
from programs import attributes
from stack import Stack
from test_load import Load, summary

CLIENT, SERVER = 0, 1  # ends of the wire
REQUESTS = 20
STATEMENTS = 20
CONNECTIONS, BY_WRK, BY_ID = 64, load.scaled(20000), load.scaled(4000)
AGES = ["old", "new"]

# How the server listens, how the client's socket is made, whom it asks.
WAYS = {
    "v4": ("AF_INET", ADDRESS["4"][SERVER], "AF_INET", ADDRESS["4"][SERVER]),
    "v6": ("AF_INET6", ADDRESS["6"][SERVER], "AF_INET6", ADDRESS["6"][SERVER]),
    "v4-to-v6": ("AF_INET6", "::", "AF_INET", ADDRESS["4"][SERVER]),
    "mapped": ("AF_INET6", "::", "AF_INET6", "::ffff:" + ADDRESS["4"][SERVER]),
    "mapped-to-v4": ("AF_INET", "0.0.0.0", "AF_INET6", "::ffff:" + ADDRESS["4"][SERVER]),
    "service-v4": ("AF_INET", "0.0.0.0", "AF_INET", SERVICE["4"]),
    "service-v6": ("AF_INET6", "::", "AF_INET6", SERVICE["6"]),
    "service-v4-to-v6": ("AF_INET6", "::", "AF_INET", SERVICE["4"]),
    "service-mapped": ("AF_INET6", "::", "AF_INET6", "::ffff:" + SERVICE["4"]),
}
HOSTS = {
    "v4": ADDRESS["4"][CLIENT], "v6": ADDRESS["6"][CLIENT], "mapped": "::ffff:" + ADDRESS["4"][CLIENT],
    "service-v4": SERVICE["4"], "service-v6": SERVICE["6"], "service-mapped": "::ffff:" + SERVICE["4"],
}


@pytest.fixture(scope="module")
def wire():
    with Wire() as w, w.service(CLIENT), w.service(SERVER):
        yield w


class SpreadStack(Stack):
    """nginx and PostgreSQL in a, the API in b; they ask each other at the Service's addresses."""

    def __init__(self, folder, wire):
        a, b = wire.names
        super().__init__(folder, {"STACK_NETNS": f"{a} {b} {a}", "STACK_API_HOST": SERVICE["4"],
                                  "STACK_PG_HOST": SERVICE["6"]})
        self.wire, self.within = wire, wire.args(CLIENT)

    def connect(self):
        conn = super().connect()
        with self.wire.inside(CLIENT):
            conn.connect()
        return conn


@pytest.fixture(scope="module")
def spread(root_folder, wire):
    with SpreadStack(os.path.join(root_folder, "spread"), wire) as s:
        yield s


def tracer(folder, *args):
    return Collector(folder, "--name", PREFIX + "*", "--redact-query", "off", "--sanitize-sql", "off", *args)


# --- HTTP ---

def http_pair(wire, way, age, collector=None):
    listens, at, asks, to = WAYS[way]
    pair = Pair(collector, f"{way}-{age}", connect=False, within=(wire.args(CLIENT), wire.args(SERVER)))
    pair.listen(listens, at)
    pair.connect(asks, to)
    return pair


def http_asks(pair):
    for n in range(REQUESTS):
        pair.ask(f"/{pair.name}/{n}")
        pair.ask(f"/{pair.name}/{n}", "POST", b"b" * (n * 997), b"a" * (n * 1499))


@pytest.fixture(scope="module")
def http_pairs(wire, module_folder):
    """{(way, age): pair}, all under one collector, which came between the old and the new ones."""
    with contextlib.ExitStack() as stack:
        pairs = {}

        def open_all(age, collector=None):
            for way in WAYS:
                pairs[way, age] = stack.enter_context(contextlib.closing(http_pair(wire, way, age, collector)))

        open_all("old")
        for pair in pairs.values():
            pair.ask("/before")
        collector = stack.enter_context(tracer(os.path.join(module_folder, "http")))
        for pair in pairs.values():
            pair.watch(collector)
            pair.truth.clear()
        open_all("new", collector)
        yield pairs


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("way", WAYS)
def test_http(http_pairs, way, age):
    pair = http_pairs[way, age]
    http_asks(pair)
    pair.check()
    for s in pair.spans("s"):
        assert s.attrs["wirespan.parent"] == "peer"
    seen, own = pair.server("c.getpeername()[1]"), pair.client("s.getsockname()[1]")
    assert way.startswith("service") == (seen != own)


# --- PostgreSQL ---

class Session:
    """A connection to the spread stack's PostgreSQL, and what was asked on it."""

    def __init__(self, wire, stack, way, age, collector=None):
        self.name = f"pg-{way}-{age}"
        self.peer = Peer(PREFIX + self.name, wire.args(SERVER))
        if collector:
            await_traced(collector, self.peer.pid)
        self.peer("import psycopg2\n"
                  f"k = psycopg2.connect(host={HOSTS[way]!r}, port={stack.env['PG_PORT']}, user='postgres', "
                  "dbname='todo', sslmode='disable')\n"
                  "k.autocommit = True\n"
                  "def ask(text):\n"
                  "    cursor = k.cursor(); cursor.execute(text); return cursor.fetchall()")

    def ask(self, n):
        """Returns its text; answers of very different sizes."""
        text = f"SELECT '{self.name}-{n}', repeat('x', {n * 2999})"
        assert self.peer(f"ask({text!r})[0][0]") == f"{self.name}-{n}"
        return text

    def close(self):
        self.peer.close()


@pytest.fixture(scope="module")
def sessions(wire, spread, module_folder):
    with contextlib.ExitStack() as stack:
        found = {}

        def open_all(age, collector=None):
            for way in HOSTS:
                found[way, age] = stack.enter_context(
                    contextlib.closing(Session(wire, spread, way, age, collector)))

        open_all("old")
        for session in found.values():
            session.ask("0")
        collector = stack.enter_context(
            tracer(os.path.join(module_folder, "pg"), "--open-ports", spread.env["PG_PORT"]))
        for session in found.values():
            await_traced(collector, session.peer.pid)
            session.tempo = collector.tempo()
        open_all("new", collector)
        for session in found.values():
            session.tempo = collector.tempo()
        yield found


def statements(session, service):
    """{text: span} of what a service says of this session."""
    q = '{ resource.service.name = "%s" && span.db.query.text =~ "SELECT \'%s-.*" }' % (service, session.name)
    spans = [s for i in session.tempo.search_ids(q) for s in session.tempo.trace(i) if s.service == service]
    found = {s.attrs["db.query.text"]: s for s in spans if session.name in s.attrs.get("db.query.text", "")}
    assert len(found) == len(spans), "a statement has two spans"
    return found


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("way", HOSTS)
def test_postgres(sessions, way, age):
    session = sessions[way, age]
    texts = {session.ask(n) for n in range(1, STATEMENTS + 1)}
    ends = {}

    def there():
        for service in (PREFIX + session.name, "postgres"):
            ends[service] = statements(session, service)
        return all(set(spans) == texts for spans in ends.values())

    with contextlib.suppress(wait.TimedOut):
        wait.until("both ends of each statement", there, 15, 0.1)
    clients, servers = ends.values()
    assert set(clients) == set(servers) == texts
    for text, s in servers.items():
        c = clients[text]
        assert (s.trace_id, s.parent, s.attrs["wirespan.parent"]) == (c.trace_id, c.id, "peer"), text
        assert c.start <= s.start and s.end <= c.end, text
    assert session.tempo.losses() == {}


@pytest.mark.parametrize("age", AGES)
def test_postgres_between_nodes(wire, spread, folder, age):
    """The same with a collector at each end that knows only its own, through a Service."""
    def node(end, *args):
        return Collector(os.path.join(folder, end), "--sanitize-sql", "off", "--propagation-tcp-option", "on", *args)

    with contextlib.ExitStack() as stack:
        def connect(collector=None):
            return stack.enter_context(contextlib.closing(
                Session(wire, spread, "service-v4", f"{age}-nodes", collector)))

        session = connect() if age == "old" else None
        client = stack.enter_context(node("c", "--name", PREFIX + "pg-*"))
        server = stack.enter_context(node("s", "--open-ports", spread.env["PG_PORT"]))
        session = session or connect(client)
        await_traced(client, session.peer.pid)
        texts = {session.ask(n) for n in range(STATEMENTS)}
        session.tempo = client.tempo()
        wait.until("the client's spans", lambda: set(statements(session, PREFIX + session.name)) == texts, 15, 0.1)
        clients = statements(session, PREFIX + session.name)
        session.tempo = server.tempo()
        wait.until("the server's spans", lambda: set(statements(session, "postgres")) == texts, 15, 0.1)
        for text, s in statements(session, "postgres").items():
            c = clients[text]
            assert (s.trace_id, s.parent, s.attrs["wirespan.parent"]) == (c.trace_id, c.id, "tcp_option"), text
        assert client.tempo().losses() == server.tempo().losses() == {}


# --- load ---

def test_wrk_with_64_connections(spread, folder):
    """nginx -> Go (which listens on IPv6) -> PostgreSQL, all of them older than the collector."""
    with Collector(folder, "--open-ports", spread.ports, "--redact-query", "off") as collector:
        x = Load(spread, collector)
        logs = [x.wrk("l", BY_WRK, "list", CONNECTIONS), x.wrk("o", BY_ID, "one", CONNECTIONS)]
        x.over()
        assert x.complaints == [] and {e["status"] for e in x.log} == {200}
        assert [len(log) for log in logs] == [BY_WRK, BY_ID]
        assert [summary(x.faults(log)) for log in logs] == [{}, {}]
        asked = {e["rid"] for e in x.log}
        assert sum(len(traces) for traces in x.by_rid.values()) == len(x.traces) == len(asked)
        assert x.losses == {}
