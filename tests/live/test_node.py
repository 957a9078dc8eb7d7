# SPDX-License-Identifier: Apache-2.0
"""A Node.js process that is asked to tell whose its calls are (context.node): they are, across timers and
waiting for a connection; and processes that cannot be asked go on as they were, with a sentence.
"""

import concurrent.futures
import http.client
import os
import signal
import subprocess

import pytest
import wait

from collector import Collector, free_port
from peers import PREFIX, PROGS, path_in
from programs import Server, environment

ROUNDS, AT_ONCE = 25, 8
LATER = os.path.join(PROGS, "later.js")


@pytest.fixture
def collector(folder):
    with Collector(folder, "--name", PREFIX + "*", "--context-node", "on") as c:
        yield c


def ask(port, paths):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for path in paths:
        conn.request("GET", path)
        assert conn.getresponse().read() == b"ok"
    conn.close()


def note(collector, pid):
    return collector.tempo().get_json("/status")["notes"].get("hooks", {}).get(str(pid), "")


def spans(tempo, service, cnt):
    found = {}

    def there():
        for trace_id in tempo.search_ids('{ resource.service.name = "%s" }' % service):
            found.update((s.id, s) for s in tempo.trace(trace_id))
        return len(found) >= cnt

    wait.until(f"{cnt} spans", there, 30, 0.2)
    return found


def test_calls_are_told(collector, folder):
    port, log = free_port(), os.path.join(folder, "node.log")
    with Server(collector, "node", port, ["node", LATER, str(port), str(free_port())], log) as server:
        wait.until("it tells", lambda: note(collector, server.process.pid) == "tells whose its calls are", 15)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda n: ask(port, [f"/{n}/{'x' * k}" for k in range(ROUNDS)]), range(AT_ONCE)))
        # client and server of each call, and the request itself
        found = spans(collector.tempo(), PREFIX + "node", 3 * AT_ONCE * ROUNDS)
        calls = [s for s in found.values() if s.kind == "CLIENT"]
        assert len(calls) == AT_ONCE * ROUNDS
        wrong = [s for s in calls if s.parent and "/b" + path_in(found[s.parent].attrs) != path_in(s.attrs)]
        none = [s for s in calls if not s.parent]
        assert wrong == [] and len(none) <= len(calls) // 50
    assert collector.tempo().losses() == {}


def test_own_network(collector, folder):
    """Its debugger cannot be reached: it is not even opened."""
    log = os.path.join(folder, "node.log")
    script = "require('http').createServer().listen(8095, '127.0.0.1')"
    args = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec node -e "$0"', script]
    with open(log, "wb") as out:
        process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env=environment("node"), start_new_session=True)
    try:
        wait.until("a sentence", lambda: "network" in note(collector, process.pid), 15)
        assert process.poll() is None
        with open(log, encoding="utf-8") as f:
            assert f.read() == ""
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
