# SPDX-License-Identifier: Apache-2.0
"""Two programs that a test drives step by step, and the truth of what they sent each other.

A Peer is a process with a service name of its own (tests/live/progs/peer.py); a Pair is a client
and a server with a connection, and a list of the exchanges that went over it. The bytes are made
here, so the list needs nobody's word. A pair's last exchange is an ordinary one: when its spans
are in the store, so are all before it, and whatever else is there is too much.
"""

import ast
import dataclasses
import os
import select
import signal
import subprocess
import urllib.parse

import wait
from stack import ROOT
from tempo import LEFT_OUT

PROGS = os.path.join(ROOT, "tests", "live", "progs")
PYTHON = "/usr/bin/python3"
PREFIX = f"wst-{os.getpid()}-"  # of the services that our collectors trace, and no other run's
SECONDS = 10
STEP_SECONDS = 20


class StepFailed(Exception):
    pass


def is_traced(collector, pid):
    processes = collector.tempo().get_json("/status").get("notes", {}).get("processes", {})
    return str(pid) in processes


def await_traced(collector, *pids):
    for pid in pids:
        wait.until(f"process {pid} is traced", lambda: is_traced(collector, pid), SECONDS, 0.005)


class Peer:
    """peer("text") runs it there; post and result do the same in two steps, for what blocks."""

    def __init__(self, service, within=()):
        """within: the words of a command that runs it in another place."""
        self.service = service
        self.process = subprocess.Popen(
            [*within, PYTHON, os.path.join(PROGS, "peer.py")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "OTEL_SERVICE_NAME": service, "PYTHONDONTWRITEBYTECODE": "1"})

    @property
    def pid(self):
        return self.process.pid

    def post(self, text):
        self.process.stdin.write(repr(text) + "\n")
        self.process.stdin.flush()

    def result(self):
        if not select.select([self.process.stdout], [], [], STEP_SECONDS)[0]:
            raise StepFailed(f"{self.service}: no answer within {STEP_SECONDS} s")
        line = self.process.stdout.readline()
        if not line:
            raise StepFailed(f"{self.service} ended")
        how, value = ast.literal_eval(line)
        if how != "ok":
            raise StepFailed(f"{self.service}: {value}")
        return value

    def __call__(self, text):
        self.post(text)
        return self.result()

    def close(self):
        """With whatever it forked: they are a session of their own."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.communicate()


@dataclasses.dataclass
class Exchange:
    """What both ends must say of one exchange. error: of the span's error.type, "" for none; status
    None: there was no answer; ends: which of them has a span."""
    method: str
    path: str
    status: int | None = 200
    request: int = 0   # bytes of the bodies
    response: int = 0
    error: str = ""
    ends: str = "cs"

    def seen(self):
        return (self.method, self.path, self.status, self.request,
                self.response if self.status else None, self.error)


def path_in(attrs):
    return attrs.get("url.path") or urllib.parse.urlsplit(attrs.get("url.full", "")).path


def path_of(span):
    return path_in(span.attrs)


def seen_of(span):
    a = span.attrs
    return (a.get("http.request.method"), path_of(span), a.get("http.response.status_code"),
            a.get("http.request.body.size"), a.get("http.response.body.size"),
            a.get("error.type", ""))


def request(target, method="GET", length=None, more=b"", body=b""):
    """A request's head, and its body when it is given here."""
    if length is None and body:
        length = len(body)
    size = b"" if length is None else b"Content-Length: %d\r\n" % length
    return b"%s %s HTTP/1.1\r\nHost: peer\r\n%s%s\r\n%s" % (
        method.encode(), target.encode(), size, more, body)


def response(status=200, length=None, more=b"", body=b"ok"):
    """The same for a response; length "": none is said."""
    if length is None:
        length = len(body)
    size = b"" if length == "" else b"Content-Length: %d\r\n" % length
    return b"HTTP/1.1 %d Some Reason\r\n%s%s\r\n%s" % (status, size, more, body)


class Losses:
    """The counters of what was lost or not decoded, from now on."""

    def __init__(self, tempo):
        self.tempo = tempo
        self.before = self.now()

    def now(self):
        return {k: v for k, v in self.tempo.metrics().items()
                if k.startswith(("wirespan_lost_total", "wirespan_undecoded_total"))
                and k.split('"')[1] not in LEFT_OUT}

    def since(self):
        return {k.split('"')[1]: int(v - self.before.get(k, 0)) for k, v in self.now().items()
                if v != self.before.get(k, 0)}


class Pair:
    def __init__(self, collector, name, connect=True, family="AF_INET", address="127.0.0.1",
                 within=((), ())):
        self.name = f"{PREFIX}{name}"
        self.client, self.server = (Peer(f"{self.name}-{end}", w) for end, w in zip("cs", within))
        self.others = []
        self.collector = collector
        self.truth = []
        self.losses = None
        if collector:
            self.watch(collector)
        if connect:
            self.listen(family, address)
            self.connect(family, address)

    def watch(self, collector):
        self.collector = collector
        self.tempo = collector.tempo()
        await_traced(collector, self.client.pid, self.server.pid)
        self.losses = Losses(self.tempo)

    def listen(self, family="AF_INET", address="127.0.0.1", proto=0):
        self.server(f"l = socket.socket(socket.{family}, socket.SOCK_STREAM, {proto}); "
                    f"l.bind(({address!r}, 0)); l.listen(64)")
        self.port = self.server("l.getsockname()[1]")

    def connect(self, family="AF_INET", address="127.0.0.1", proto=0, names=("s", "c")):
        self.client(f"{names[0]} = socket.socket(socket.{family}, socket.SOCK_STREAM, {proto}); "
                    f"{names[0]}.connect(({address!r}, {self.port}))")
        self.server(f"{names[1]}, _ = l.accept()")

    def asks_many(self, first, cnt, names=("s", "c")):
        """cnt ordinary exchanges that need no step of ours, /n/<first> and on."""
        self.server.post(f"for n in range({cnt}):\n"
                         f"    take({names[1]}, {len(request('/n/000000'))})\n"
                         f"    {names[1]}.sendall({response()!r})")
        self.client(f"for n in range({first}, {first + cnt}):\n"
                    f"    {names[0]}.sendall({request('/n/%06d')!r} % n)\n"
                    f"    take({names[0]}, {len(response())})")
        self.server.result()

    def want(self, *args, **more):
        self.truth.append(Exchange(*args, **more))

    def ask(self, target, method="GET", body=b"", answer=b"ok", names=("s", "c")):
        """An ordinary exchange."""
        self.asks(target, method, body, names)
        self.answers(answer, names)
        self.want(method, target, 200, len(body), len(answer))

    def asks(self, target, method="GET", body=b"", names=("s", "c")):
        """Half of it: the request has been read."""
        data = request(target, method, body=body)
        self.client(f"{names[0]}.sendall({data!r})")
        self.server(f"take({names[1]}, {len(data)})")

    def answers(self, body=b"ok", names=("s", "c")):
        data = response(body=body)
        self.server(f"{names[1]}.sendall({data!r})")
        self.client(f"take({names[0]}, {len(data)})")

    def new_server(self):
        """Another process, which serves from now on."""
        self.others.append(self.server)
        self.server = Peer(f"{self.name}-s{len(self.others)}")
        await_traced(self.collector, self.server.pid)

    def spans(self, end):
        service = (self.client if end == "c" else self.server).service
        ids = self.tempo.search_ids('{ resource.service.name = "%s" }' % service, 100000)
        spans = [s for i in ids for s in self.tempo.trace(i) if s.service == service]
        return sorted(spans, key=lambda s: (s.start, s.end))

    def await_last(self):
        """Both ends' spans, once those of the last exchange are there."""
        last = self.truth[-1].path
        found = {}

        def there():
            for end in "cs":
                found[end] = self.spans(end)
            return all(any(last == path_of(s) for s in found[end]) for end in "cs")

        try:
            wait.until("spans of the last exchange", there, SECONDS)
        except wait.TimedOut:
            pass  # the comparison says it better
        return found

    def faults(self, losses=None):
        """All in which spans, joins and counters differ from the truth, in sentences."""
        found, out = self.await_last(), []
        for end, who in (("c", "client"), ("s", "server")):
            truth = [x.seen() for x in self.truth if end in x.ends]
            seen = [seen_of(s) for s in found[end]]
            out += [f"{who}: no span {x}" for x in truth if x not in seen]
            out += [f"{who}: a span {x}" for x in seen if x not in truth]
            if not out and seen != truth:
                out.append(f"{who}: in another order, or twice: {seen}")
        out += join_faults(found, {x.path for x in self.truth if x.ends == "cs"})
        lost = self.losses.since()
        return out + ([] if lost == (losses or {}) else [f"counted: {lost}"])

    def check(self, losses=None):
        faults = self.faults(losses)
        if faults:
            raise AssertionError("\n".join(faults))

    def close(self):
        for peer in [self.client, self.server, *self.others]:
            peer.close()


def join_faults(found, paths):
    """A server's span hangs on the client's, and lies inside of it. (What a client broke off, its
    server hears of later.)"""
    faults = []
    for s in found["s"]:
        path = path_of(s)
        if path not in paths:
            continue
        outer = [c for c in found["c"] if c.id == s.parent and c.trace_id == s.trace_id]
        if len(outer) != 1 or path_of(outer[0]) != path:
            faults.append(f"{path}: the server's span does not hang on its client's")
        elif outer[0].start > s.start or (outer[0].end < s.end and not s.attrs.get("error.type")):
            faults.append(f"{path}: the server's span is not within its client's")
    return faults
