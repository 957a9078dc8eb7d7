# SPDX-License-Identifier: Apache-2.0
"""Connections that end in a softirq, in the middle of a system call that ends another one: the kernel does not
run a program of ours inside itself, and its twin does the work (kern/twin.h). What was passed over so is not
lost, and is not counted.

The truth is what the program (progs/closers.c) did, and the kernel's own count of runs that it left out. That
count is all there is on other kernels, as far as we know. There is one (6.18.44-fc, by its bpf_trace_run1(): README, Limits)
that runs no program of ours, and counts nothing, while process 1 has the CPU, in a softirq on top of it too.
Therefore process 1 is kept off the CPUs where connections end.
"""

import contextlib
import os
import subprocess

import wait
from collector import Collector
from measure import bpf_facts
from peers import PREFIX, await_traced
from programs import environment, threads_program

TWINS = ("sock_state", "sock_state_twin")
ENOUGH = 20
SECONDS = 60


def interrupted(pid):
    """How often each of the two was passed over."""
    facts = bpf_facts(pid)
    return [int(facts[program]["recursion_misses"]) for program in TWINS]


def each_thread(pid, do):
    """Calls do(tid); those that have ended meanwhile need nothing."""
    for tid in map(int, os.listdir(f"/proc/{pid}/task")):
        with contextlib.suppress(ProcessLookupError):
            do(tid)


@contextlib.contextmanager
def cpus_without_init():
    """The CPUs that process 1 is kept off until the end of the with; the only one, if there are no more."""
    first, *others = sorted(os.sched_getaffinity(0))
    before = {}
    each_thread(1, lambda tid: before.update({tid: os.sched_getaffinity(tid)}))
    try:
        each_thread(1, lambda tid: os.sched_setaffinity(tid, {first}))
        yield others or [first]
    finally:
        each_thread(1, lambda tid: os.sched_setaffinity(tid, before.get(tid, before[1])))


def say(program):
    program.stdin.write("\n")
    program.stdin.flush()


def test_closing_in_a_softirq(folder):
    path = threads_program(folder, "closers")
    with Collector(os.path.join(folder, "collector"), "--name", f"{PREFIX}closers") as c, cpus_without_init() as cpus:
        tempo = c.tempo()

        def spans():
            return tempo.metrics()["wirespan_spans_total"]

        args = ["taskset", "--cpu-list", ",".join(map(str, cpus)), path]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env=environment("closers")) as p:
            await_traced(c, p.pid)
            say(p)
            wait.until("closing interrupted by closing", lambda: sum(interrupted(c.pid)) >= ENOUGH, SECONDS, 0.2)
            say(p)
            read, unread = (int(n.split()[0]) for n in p.stdout.readline().split(","))
            assert min(read, unread) > 0
            expected = 2 * read + unread
            wait.until(f"a span of each end of {read} connections, and of the clients of {unread} others",
                       lambda: spans() >= expected, SECONDS)
            p.communicate(timeout=SECONDS)
        assert p.returncode == 0
        assert spans() == expected
        assert tempo.losses() == {}
