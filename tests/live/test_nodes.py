# SPDX-License-Identifier: Apache-2.0
"""Traces that go on from one node to another: two collectors with two stores, in two network namespaces.

What the client's node says of a request and what the server's node says of it must be one trace, the
server's span under the client's. That both programs got what they asked for is the client's word.
"""

import contextlib
import os
import urllib.parse

import pytest
import wait

from collector import Collector, free_port
from nodes import ADDRESS, SERVER, Node, Wire, ask, spans_of
from peers import PREFIX, Pair, await_traced, request
from tempo import KERNEL

ON = ("--propagation-tcp-option", "on")
LARGE = 20000  # bytes of a body that goes with the head


@pytest.fixture(scope="module")
def wire():
    with Wire() as w:
        yield w


def node(folder, name, *args, selects=None, where=""):
    return Collector(os.path.join(folder, name + where), "--name", PREFIX + (selects or name + "*"), *args)


@pytest.fixture(scope="module")
def nodes(module_folder):
    with node(module_folder, "na", *ON) as a, node(module_folder, "nb", *ON) as b:
        yield a, b


def served(wire, collector, service, address):
    return Node(wire, 1, collector, service, SERVER, address)


def asked(name):
    """On one connection, on new ones, and with bodies that fill segments."""
    return ([(f"/{name}/k{n}", 0, False) for n in range(100)] +
            [(f"/{name}/n{n}", 0, True) for n in range(50)] +
            [(f"/{name}/l{n}", LARGE, n % 10 == 0) for n in range(50)])


def assert_joined(clients, servers, requests, how="tcp_option"):
    for path, _, _ in requests:
        c, s = clients[path], servers[path]
        assert (s.trace_id, s.parent, s.attrs["wirespan.parent"]) == (c.trace_id, c.id, how), path


@pytest.mark.parametrize("family", ["4", "6"])
def test_joined(wire, nodes, family):
    a, b = nodes
    address, name = ADDRESS[family][1], "joined" + family
    requests = asked(name)
    with served(wire, b, f"nb-{name}", address):
        wait.until("the server", lambda: wire.answers(address), 15)
        ask(wire, a, f"na-{name}", requests, address)
        assert_joined(spans_of(a.tempo(), f"na-{name}", len(requests)),
                      spans_of(b.tempo(), f"nb-{name}", len(requests)), requests)
    assert a.tempo().losses() == {} and b.tempo().losses() == {}


def test_packets_lost(wire, nodes):
    """Every tenth packet is dropped: retransmissions carry the option again."""
    a, b = nodes
    address, requests = ADDRESS["4"][1], asked("lossy")
    drop = "chain in { type filter hook input priority 0; numgen inc mod 10 0 drop; };"
    with served(wire, b, "nb-lossy", address):
        wait.until("the server", lambda: wire.answers(address), 15)
        with wire.ruled(1, drop):
            ask(wire, a, "na-lossy", requests, address)
        assert_joined(spans_of(a.tempo(), "na-lossy", len(requests)),
                      spans_of(b.tempo(), "nb-lossy", len(requests)), requests)


# --- connections that are older than the collectors ---

class OldPair(Pair):
    """A client at one end and a server at the other, with a connection that nobody has seen being made."""

    def __init__(self, wire, name, family):
        super().__init__(None, name, connect=False, within=(wire.args(0), wire.args(1)))
        socket_family = {"4": "AF_INET", "6": "AF_INET6"}[family]
        self.listen(socket_family, ADDRESS[family][1])
        self.connect(socket_family, ADDRESS[family][1])
        self.ask("/before")
        self.truth.clear()

    def half(self, size):
        """A request whose body waits in the client's socket, because the server does not read it; what ends
        that."""
        head = request("/half", "POST", size)
        self.client.post(f"s.sendall({head!r}); give(s, {size})")
        self.server(f"take(c, {len(head)})")
        return lambda: (self.server(f"take(c, {size})"), self.client.result(), self.answers())


def assert_old_joined(a, b, pair):
    found = [spans_of(x.tempo(), f"{pair.name.removeprefix(PREFIX)}-{end}", len(pair.truth))
             for x, end in ((a, "c"), (b, "s"))]
    assert_joined(*found, [(x.path, 0, False) for x in pair.truth])


@pytest.mark.skipif(KERNEL < (6, 12), reason="this kernel does not let old connections have it")
@pytest.mark.parametrize("lossy", [False, True], ids=["whole", "packets-lost"])
def test_old_connections(wire, folder, lossy):
    """One idle, one by IPv6, one with a request under way: all requests that follow are joined, with bodies
    that fill segments; and once more when the client's collector was killed, and another one came."""
    drop = "chain in { type filter hook input priority 0; numgen inc mod 20 0 drop; };"
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(contextlib.closing(OldPair(wire, name, family)))
                 for name, family in (("ko-idle", "4"), ("ko-six", "6"), ("ko-busy", "4"))]
        if lossy:
            stack.enter_context(wire.ruled(1, drop))
        end_half = pairs[2].half((1 if lossy else 32) << 20)
        a, b = (stack.enter_context(node(folder, "ko", *ON, selects=f"ko-*-{end}", where=end)) for end in "cs")

        def rest(meanwhile, first):
            for pair in pairs:
                await_traced(a, pair.client.pid)
                await_traced(b, pair.server.pid)
            meanwhile()
            for pair in pairs:
                for n in range(first, first + 20):
                    pair.ask(f"/{n}", "POST", b"x" * (n % 4 * LARGE))
                assert_old_joined(a, b, pair)
            assert a.tempo().losses() == {} and b.tempo().losses() == {}

        rest(end_half, 0)
        a.kill()
        end_half = pairs[2].half(1 << 20)
        a.start()
        rest(end_half, 20)


@pytest.mark.skipif(KERNEL >= (6, 12), reason="old connections have it")
def test_old_connections_go_without(wire, folder):
    """A sentence says so, and what went without is counted (the last one when the next is sent)."""
    with contextlib.closing(OldPair(wire, "kw", "4")) as pair, node(folder, "kw", *ON) as c:
        await_traced(c, pair.client.pid, pair.server.pid)
        for n in range(10):
            pair.ask(f"/{n}")
        spans_of(c.tempo(), "kw-s", 10)
        assert c.tempo().losses() == {"tcp_option": 9} and "go without it" in c.log()


def test_other_node_does_not_know(wire, folder):
    """A host without Wirespan answers as always."""
    address = ADDRESS["4"][1]
    with node(folder, "nc", *ON) as a, served(wire, None, "plain", address):
        wait.until("the server", lambda: wire.answers(address), 15)
        ask(wire, a, "nc-plain", asked("plain"), address)
        assert a.tempo().losses() == {}


def test_off(wire, folder):
    """As long as nobody switches it on, a node's traces are its own."""
    address, requests = ADDRESS["4"][1], asked("off")
    with node(folder, "nd") as a, node(folder, "ne") as b, served(wire, b, "ne-off", address):
        wait.until("the server", lambda: wire.answers(address), 15)
        ask(wire, a, "nd-off", requests, address)
        servers = spans_of(b.tempo(), "ne-off", len(requests))
        assert {s.attrs["wirespan.parent"] for s in servers.values()} == {"none"}


def hosts(collectors):
    """Each asks all, itself too, as when a name stands for all nodes."""
    for c in collectors:
        c.args += ["--query-peers", ",".join(f"127.0.0.1:{x.port}" for x in collectors)]
    return collectors


def counted(tempo, q):
    """({label or name: value}, did all nodes answer?) of the last hour."""
    answer = tempo.get_json("/api/metrics/query?" + urllib.parse.urlencode({"q": q, "since": "1h"}))
    metrics = answer["metrics"]
    whole = metrics["completedJobs"] == metrics["totalJobs"]
    assert (answer.get("status") == "PARTIAL") == (not whole)
    return {series["labels"][0]["value"]["stringValue"]: series.get("value", 0) for series in answer["series"]}, whole


def test_any_node_answers(wire, folder):
    address, requests = ADDRESS["4"][1], asked("peers")[:20]
    a, b = hosts([node(folder, "ng", *ON), node(folder, "nh", *ON)])
    with a, b, served(wire, b, "nh-peers", address):
        wait.until("the server", lambda: wire.answers(address), 15)
        ask(wire, a, "ng-peers", requests, address)
        clients = spans_of(a.tempo(), "ng-peers", len(requests))
        servers = spans_of(b.tempo(), "nh-peers", len(requests))
        for tempo in (a.tempo(), b.tempo()):
            for s in clients.values():
                trace = tempo.trace(s.trace_id)
                assert sorted(x.service for x in trace) == [PREFIX + "ng-peers", PREFIX + "nh-peers"]
            for service in ("ng-peers", "nh-peers"):
                found = tempo.search('{ resource.service.name = "%s" }' % (PREFIX + service), 1000)
                assert len(found) == len({t["traceID"] for t in found}) == len(requests)
                assert {t["spanSet"]["matched"] for t in found} == {1}
                # A node that has no match does not say what it knows of the trace.
                assert {t["rootServiceName"] for t in found} == {
                    PREFIX + "ng-peers" if service == "ng-peers" else "<root span not yet received>"}
            both = tempo.search('{ }', 1000)
            assert {sum(s["spanCount"] for s in t["serviceStats"].values()) for t in both} == {2}
            answer = tempo.get_json("/api/search?limit=5")
            assert len(answer["traces"]) == 5
            assert answer["metrics"]["completedJobs"] == answer["metrics"]["totalJobs"] == 3
            assert "status" not in tempo.get_json("/api/v2/traces/" + trace[0].trace_id)
            counts, whole = counted(tempo, "{ } | count_over_time() by (resource.service.name)")
            assert whole and counts == {PREFIX + "ng-peers": len(requests), PREFIX + "nh-peers": len(requests)}
            durations = sorted(s.end - s.start for s in [*clients.values(), *servers.values()])
            for ask_for, truth in (("max", durations[-1]), ("min", durations[0]),
                                   ("avg", sum(durations) / len(durations))):
                counts, _ = counted(tempo, "{ } | %s_over_time(duration)" % ask_for)
                assert [round(v * 1e9) for v in counts.values()] == [round(truth)]


def test_a_node_is_away(folder):
    """What there is, and a mark that it is not all."""
    away = free_port()
    with Collector(folder, "--capture", "off", "--query-peers", f"127.0.0.1:{away}") as c:
        answer = c.tempo().get_json("/api/v2/traces/" + "1" * 32)
        assert answer["status"] == "PARTIAL" and str(away) in answer["message"]
        metrics = c.tempo().get_json("/api/search")["metrics"]
        assert (metrics["completedJobs"], metrics["totalJobs"]) == (1, 2)
        assert counted(c.tempo(), "{ } | rate()") == ({"rate": 0}, False)
