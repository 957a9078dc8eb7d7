# SPDX-License-Identifier: Apache-2.0
"""What happens beside a running instance: a second one, the tools, readers that never end, an idle
hour, a clock that jumps."""

import os
import subprocess
import threading
import time

from common import BINARY, HARNESS, Folder, base_s, check, expect
from disk import shimmed

import wait
from collector import Collector, free_port
from otlp import has, metric, push

DAY = 86400


def test_second_instance():
    with Folder() as f, Collector(f.path, "--capture", "off", store=f.store) as c:
        out = subprocess.run([BINARY, "run", "--capture", "off", "--store", f.store, "--listen",
                              f"127.0.0.1:{free_port()}"], capture_output=True, text=True,
                             timeout=20, check=False)
        expect("refused:", out.returncode == 2 and f"pid {c.pid}" in out.stderr, out.stderr)
        out = subprocess.run([BINARY, "store", "upgrade", f.store], capture_output=True, text=True,
                             timeout=20, check=False)
        expect("upgrade too:", out.returncode == 2 and f"pid {c.pid}" in out.stderr, out.stderr)


def test_tools_beside_writer():
    """check, stats, query and export while spans are committed all the time."""
    base = base_s()
    with Folder() as f:
        p = subprocess.Popen([HARNESS, "write", f.store, str(base), "1"], stdout=subprocess.DEVNULL)
        try:
            wait.until("a partition", lambda: os.path.exists(f.store) and
                       any("Z" in n and n.endswith("Z") for n in os.listdir(f.store)))
            for args in (("store", "check"), ("store", "stats"), ("query", "{}", "--store"),
                         ("store", "export", "--otlp", "-")) * 3:
                out = subprocess.run([BINARY, *args, f.store], capture_output=True, timeout=60,
                                     check=False)
                expect(f"{args}:", out.returncode == 0, out.stderr, out.stdout[-300:])
            expect("the writer goes on", p.poll() is None)
        finally:
            p.kill()
            p.wait()


def test_reader_that_never_ends():
    """LMDB keeps the pages that a reader may need: its partition ends at its share of the limit."""
    limit = 8 << 20
    with Folder() as f:
        out = subprocess.run([HARNESS, "hold", f.store, str(base_s()), "1500", str(limit)],
                             capture_output=True, text=True, timeout=100, check=True).stdout.split()
        expect("its view is whole:", out[0] == "30" and out[2] == "0", out)
        expect("the store keeps its limit:", int(out[4]) <= limit, out)
        expect("it did grow:", int(out[4]) > limit / 2, out)


def io_of(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return [line for line in f if line.startswith(("wchar", "write_bytes", "syscw"))]


def test_idle_writes_nothing():
    with Folder() as f, Collector(f.path, "--capture", "off", store=f.store) as c:
        stored(c)
        before = []

        def at_rest():
            before.append(io_of(c.pid))
            return before[-3:] == [before[-1]] * 3

        wait.until("it is durable, too", at_rest, 10, 1)
        time.sleep(5)  # what is looked at
        expect("idle:", io_of(c.pid) == before[-1], before[-1], io_of(c.pid))


def stored(c, when_s=None):
    status, trace = push(c.port, when_s)
    expect("a span is taken", status == 200)
    wait.until("it", lambda: has(c.port, trace))
    return trace


def test_clock_jumps():
    with Folder() as f, shimmed(f) as (c, control):
        now = stored(c)
        control.set(offset_s=31 * DAY)
        month_on = stored(c, time.time() + 31 * DAY)
        wait.until("what is a month old goes", lambda: not has(c.port, now))
        control.set(offset_s=0)
        again = stored(c)
        time.sleep(1.5)  # retention looks
        expect("all of now is there", has(c.port, again) and has(c.port, month_on))
        control.set(offset_s=-31 * DAY)
        month_back = stored(c, time.time() - 31 * DAY)
        expect("and before", all(has(c.port, t) for t in (again, month_on, month_back)))
        expect("nothing refused", metric(c.port, "store_rejected_total") == 0)


def test_off_for_a_month():
    with Folder() as f:
        with shimmed(f) as (c, control):
            old = stored(c)
        with shimmed(f) as (c, control):
            control.set(offset_s=31 * DAY)
            stored(c, time.time() + 31 * DAY)
            wait.until("what is a month old goes", lambda: not has(c.port, old))
        status, said = check(f.store)
        expect("store check:", status == 0, said)


def test_query_beside_instance():
    """The commands that ask and those that read, all at once, beside one program."""
    with Folder() as f, Collector(f.path, "--capture", "off", store=f.store) as c:
        trace = stored(c)
        bad = []

        def ask(*args):
            out = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60,
                                 check=False)
            if out.returncode or not out.stdout:
                bad.append((args, out.stderr))

        listen = ("--listen", f"127.0.0.1:{c.port}")
        threads = [threading.Thread(target=ask, args=a) for a in (
            ("trace", trace, *listen), ("status", *listen), ("query", trace, "--store", f.store),
            ("query", "{}", "--store", f.store), ("store", "check", f.store))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect("", not bad, bad)


TESTS = [test_second_instance, test_tools_beside_writer, test_query_beside_instance,
         test_reader_that_never_ends, test_idle_writes_nothing, test_clock_jumps,
         test_off_for_a_month]
