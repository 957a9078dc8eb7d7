# SPDX-License-Identifier: Apache-2.0
"""Connections that end in a softirq, in the middle of a system call that ends another one: the kernel does not
run a program of ours inside itself, and its twin does the work (kern/twin.h). What was passed over so is not
lost, and is not counted.

The truth is what the program (progs/closers.c) did, and the kernel's own count of runs that it left out.
"""

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


def say(program):
    program.stdin.write("\n")
    program.stdin.flush()


def test_closing_in_a_softirq(folder):
    path = threads_program(folder, "closers")
    with Collector(os.path.join(folder, "collector"), "--name", f"{PREFIX}closers") as c:
        tempo = c.tempo()

        def spans():
            return tempo.metrics()["wirespan_spans_total"]

        with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env=environment("closers")) as p:
            await_traced(c, p.pid)
            say(p)
            wait.until("closing interrupted by closing", lambda: sum(interrupted(c.pid)) >= ENOUGH, SECONDS, 0.2)
            say(p)
            read, unread = (int(n.split()[0]) for n in p.stdout.readline().split(","))
            assert min(read, unread) > 0
            # Not yet of all of these: in one run of five to fifteen, clients whose connection a timer ended within
            # one softirq (1 to 120) have no span, and nothing says so: neither run_cnt nor recursion_misses of the
            # four programs has them, while `perf stat -a` counts both tracepoints for each.
            wait.until(f"a span of each end of {read} connections, and of the clients of others",
                       lambda: spans() > 2 * read, SECONDS)
            p.communicate(timeout=SECONDS)
        assert p.returncode == 0
        assert spans() <= 2 * read + unread
        assert tempo.losses() == {}
