# SPDX-License-Identifier: Apache-2.0
"""What was called, without a word of the collector: the back end's record, the answered requests.

A call's key is (kind, id, step): ("http", "c8n17", "3") for GET /b/c8n17-3, ("sql", "c8n17", "4")
for SELECT … AS r_c8n17_4, and for the timer's calls ("http", "bg", "5") and ("sql", "bg", "5").
"""

import collections
import http.client
import re
import subprocess
import threading

import wait
from programs import answers
from traced import build_go, free_port

SECONDS = 60
PATH = re.compile(r"/b/(\w+)-(\w+)$")
ALIAS = re.compile(r" AS (?:r_(\w+)|(bg))_(\d+)\b")


def key_of_path(path):
    m = PATH.search(path)
    return m and ("http", m[1], m[2])


def key_of_sql(text):
    m = ALIAS.search(text)
    return m and ("sql", m[1] or m[2], m[3])


class Backend:
    """The server of backend/, not traced."""

    @classmethod
    def build(cls):
        cls.program = build_go("backend")

    def __init__(self, log):
        self.port = free_port()
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                ["/usr/bin/env", f"PORT={self.port}", self.program], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True)

    def __enter__(self):
        try:
            wait.until("the back end", lambda: answers(self.port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()

    def seen(self):
        """The paths that it was asked for since the last time."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        conn.request("GET", "/seen")
        paths = conn.getresponse().read().decode().split("\n")
        conn.close()
        return list(filter(None, paths))


def ask(port, ids):
    """GET /r/<id> for one after the other over one connection."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    for name in ids:
        conn.request("GET", "/r/" + name)
        answer = conn.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise AssertionError(f"GET /r/{name}: {answer.status} {text[:200]}")
    conn.close()


def ask_all(port, ids, connections):
    """The same over several connections at a time."""
    faults = []

    def client(mine):
        try:
            ask(port, mine)
        except (OSError, http.client.HTTPException, AssertionError) as e:
            faults.append(e)

    clients = [threading.Thread(target=client, args=[ids[n::connections]])
               for n in range(connections)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    if faults:
        raise faults[0]


class Truth:
    """attempted: {key of a call: how often}; ids: the requests, which have all been answered."""

    def __init__(self, program, ids, backend):
        self.seen, self.wanted = [], {("http", i, step) for i in ids for step in program.http}
        self.await_all(backend)
        made = {k for k in self.seen if k[1] != "bg"}
        if made != self.wanted:
            raise AssertionError("the back end was not asked for "
                                 f"{sorted(self.wanted - made)[:5]}, but for "
                                 f"{sorted(made - self.wanted)[:5]}")
        self.attempted = collections.Counter(self.seen)
        self.attempted.update(("sql", i, step) for i in ids for step in program.sql)
        if program.sql:  # a tick of the timer makes one call of each kind
            self.attempted.update(("sql", "bg", k[2]) for k in self.seen if k[1] == "bg")

    def await_all(self, backend):
        """What nginx mirrors may come behind the answer; whatever else is there is seen too."""

        def look():
            self.seen += map(key_of_path, backend.seen())
            return self.wanted <= set(self.seen)

        try:
            wait.until("the last calls", look)
        except wait.TimedOut:
            pass  # the comparison says it better
