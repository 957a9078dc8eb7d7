# SPDX-License-Identifier: Apache-2.0
"""Many busy threads on each CPU: one that loses its CPU in the middle of a program of ours keeps all others
on that CPU out of it, until it goes on (kern/preempt.h). What was lost so is counted.

Linux 7.2 preempts programs on tracepoints, and ends a time slice wherever it is (its scheduler's HRTICK). In
tests/vm one run of 25 was lost there before programs put that off, then one of 70 to 300, and one of some
thousands since sends and receives have a second program (kern/twin.h).
"""

import os
import subprocess

from collector import Collector
from load import scaled
from peers import PREFIX, await_traced
from programs import environment, threads_program

PAIRS, EXCHANGES = 8, scaled(10000)
RUNS = PAIRS * EXCHANGES * 4  # each sent and received twice
SECONDS = 300


def test_busy_threads(folder):
    args = [threads_program(folder, "crowd"), str(PAIRS), str(EXCHANGES)]
    with Collector(os.path.join(folder, "collector"), "--name", f"{PREFIX}crowd") as c:
        with subprocess.Popen(args, stdin=subprocess.PIPE, text=True, env=environment("crowd")) as p:
            await_traced(c, p.pid)
            p.communicate("\n", timeout=SECONDS)
        assert p.returncode == 0
        tempo = c.tempo()
        assert tempo.metrics()['wirespan_connections_total{protocol="http1"}'] == 2 * PAIRS
        assert tempo.metrics()['wirespan_lost_total{reason="recursion"}'] * 500 <= RUNS
