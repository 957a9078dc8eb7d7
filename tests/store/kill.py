# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: a writer is killed, the store opened again, and all that it had confirmed
must be there, whole and true; `store check` finds nothing. ROUNDS kills (WIRESPAN_KILLS)."""

import os
import random
import signal
import subprocess
import time

from common import HARNESS, Folder, base_s, check, expect, read

ROUNDS = int(os.environ.get("WIRESPAN_KILLS", "200"))
ROUND = 1000000


def killed_writer(store, base, first, seconds):
    """The last trace that it confirmed, or None."""
    p = subprocess.Popen([HARNESS, "write", store, str(base), str(first)], stdout=subprocess.PIPE,
                         start_new_session=True)
    try:
        time.sleep(seconds)
    finally:
        p.send_signal(signal.SIGKILL)
    lines = p.stdout.read().decode().rsplit("\n", 1)[0].split("\n")
    p.wait()
    expect("the writer ended by itself, status", p.returncode == -signal.SIGKILL, p.returncode)
    return int(lines[-1].split()[0]) if lines[-1] else None


def test_kill_writer():
    rnd = random.Random(1)
    base, ranges = base_s(), []
    with Folder() as f:
        for i in range(ROUNDS):
            first = i * ROUND + rnd.randrange(ROUND // 4)
            last = killed_writer(f.store, base, first, rnd.choice([0.002, 0.02, 0.06]) *
                                 rnd.uniform(0.2, 2))
            if last is not None:
                ranges.append(f"{first}-{last}")
            some = ranges if i % 50 == 49 or i == ROUNDS - 1 else ranges[-2:]
            got = read(f.store, base, *some)
            expect(f"round {i}:", got["status"] == 0 and not (got["wrong"] + got["missing"] +
                   got["incomplete"] + got["damaged"] + got["unclean"]), got)
            if i % 10 == 9:
                status, said = check(f.store)
                expect(f"round {i}: store check:", status == 0, said)
    expect("few writers got to a flush:", len(ranges) > ROUNDS / 3, len(ranges))


TESTS = [test_kill_writer]
