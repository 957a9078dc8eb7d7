# SPDX-License-Identifier: Apache-2.0
"""Programs as users run them, under names that a test's collector traces, and what it says of them.

Each gets a session of its own and is ended by its id. A client that must be traced from its first
byte on waits for something that the test gives it when the collector knows it.
"""

import contextlib
import os
import signal
import socket
import subprocess

import wait
from peers import PREFIX, PROGS, await_traced, is_traced, path_in
from tempo import attrs_of

SECONDS = 15


def environment(service, more=()):
    return {**os.environ, "OTEL_SERVICE_NAME": PREFIX + service, "PYTHONDONTWRITEBYTECODE": "1",
            **{k: str(v) for k, v in dict(more).items()}}


def threads_program(folder, name):
    """Path of one of tests/live/progs that is made of threads, built."""
    path = os.path.join(folder, name)
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, os.path.join(PROGS, name + ".c"), "-lpthread"],
                   check=True)
    return path


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Stopped:
    """A process stands still: the agent, whose ring fills, or a server, whose clients wait."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *exc):
        os.kill(self.pid, signal.SIGCONT)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(child) for child in f.read().split()]


class Server:
    """A program that listens on a port, with so many processes that it forks: with Server(...) as
    s: … unseen: the collector stands still until all of them are there. hooked: its runtime has
    functions that the collector hooks, and has hooked by then. settings: of its environment."""

    def __init__(self, collector, service, port, args, log, end=signal.SIGTERM, forks=0,
                 unseen=False, hooked=False, settings=()):
        self.end, self.forks, self.port = end, forks, port
        still = Stopped(collector.pid) if unseen else contextlib.nullcontext()
        with still, open(log, "ab") as out:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=environment(service, settings), start_new_session=True)
            self.check(f"{service} on port {port}", self.is_up)
        self.check(f"{service} traced", lambda: all(
            is_traced(collector, pid) for pid in (self.process.pid, *children_of(self.process.pid))))
        if hooked:
            self.check(f"{service} hooked", lambda: str(self.process.pid) in collector.tempo().get_json(
                "/status")["notes"].get("hooks", {}))

    def is_up(self):
        return answers(self.port) and len(children_of(self.process.pid)) >= self.forks

    def check(self, what, done):
        try:
            wait.until(what, done, SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(self.end)
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def run_client(collector, service, args, text):
    """Runs a client that waits for its standard input; what it printed."""
    p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, env=environment(service),
                         start_new_session=True)
    try:
        await_traced(collector, p.pid)
        out, _ = p.communicate(text, timeout=60)
    except BaseException:
        p.kill()
        p.communicate()
        raise
    assert p.returncode == 0, out
    return out


KEYS = ("http.request.method", "url.path", "url.full", "http.response.status_code",
        "http.request.body.size", "http.response.body.size")


def attributes(tempo, service, keys):
    """The attributes of each span of a service, as a dict, by one search."""
    found = tempo.search('{ resource.service.name = "%s" } | select(%s)'
                         % (service, ", ".join("span." + k for k in keys)), 262144, 100)
    return [attrs_of(s.get("attributes", [])) for t in found for s in t["spanSets"][0]["spans"]]


def http_rows(tempo, service):
    """(method, path, status, bytes of the request's body, of the response's), span by span."""
    return sorted((a.get(KEYS[0]), path_in(a), *(a.get(k) for k in KEYS[3:]))
                  for a in attributes(tempo, PREFIX + service, KEYS))


def await_rows(tempo, service, truth):
    """The rows of a service once there are as many as expected; what there is when time is up."""
    rows = []

    def there():
        rows[:] = http_rows(tempo, service)
        return len(rows) >= len(truth)

    try:
        wait.until(f"{len(truth)} spans of {service}", there, SECONDS, 0.1)
    except wait.TimedOut:
        pass
    return rows


def differences(rows, truth):
    """In words, the first few; [] when both are the same."""
    rows, truth = list(rows), sorted(truth)
    for row in truth[:]:
        if row in rows:
            rows.remove(row)
            truth.remove(row)
    return ([f"no span {x}" for x in truth] + [f"a span {x}" for x in rows])[:10]
