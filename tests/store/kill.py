# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment: a writer is killed, the store opened again, and all that it had confirmed
must be there, whole and true; `store check` finds nothing, and what was accepted is either there or
counted as lost. ROUNDS kills (WIRESPAN_KILLS), a new store after each STORE_ROUNDS: all that is in it
is read in each round."""

import os
import random
import signal
import subprocess
import time

from common import HARNESS, Folder, base_s, check, expect, read

ROUNDS = int(os.environ.get("WIRESPAN_KILLS", "200"))
STORE_ROUNDS = 50
ROUND = 1000000
SPANS = 3  # of a trace


def killed_writer(f, base, first, seconds):
    """The last trace that it confirmed, or None; how many spans the store had taken."""
    taken = os.path.join(f.path, "accepted")
    with open(taken, "wb"): # the writer may be killed before it does this
        pass
    p = subprocess.Popen([HARNESS, "write", f.store, str(base), str(first)], stdout=subprocess.PIPE,
                         start_new_session=True, env={**os.environ, "ACCEPTED": taken})
    try:
        time.sleep(seconds)
    finally:
        p.send_signal(signal.SIGKILL)
    lines = p.stdout.read().decode().rsplit("\n", 1)[0].split("\n")
    p.wait()
    expect("the writer ended by itself, status", p.returncode == -signal.SIGKILL, p.returncode)
    with open(taken, "rb") as file:
        accepted = int.from_bytes(file.read(8), "little")
    return int(lines[-1].split()[0]) if lines[-1] else None, accepted


class Sum:
    """Of all rounds: writers that confirmed something, spans lost, rounds with more than was accepted."""

    confirmed = lost = unsure = 0


def kill_again_and_again(rnd, rounds, total):
    base, ranges, spans = base_s(), [], 0
    with Folder() as f:
        for i in range(rounds):
            first = i * ROUND + rnd.randrange(ROUND // 4)
            last, accepted = killed_writer(f, base, first, rnd.choice([0.002, 0.02, 0.06]) *
                                           rnd.uniform(0.2, 2))
            if last is not None:
                ranges.append(f"{first}-{last}")
            some = ranges if i % 50 == 49 or i == rounds - 1 else ranges[-2:]
            got = read(f.store, base, *some)
            expect(f"round {i}:", got["status"] == 0 and not (got["wrong"] + got["missing"] +
                   got["incomplete"] + got["damaged"] + got["unclean"]), got)
            # The kill may come between a step and its count: a trace more, or a commit counted as lost.
            there = got["spans"] - spans + got["lost"]
            expect(f"round {i}: {accepted} accepted,", there >= accepted, got, spans)
            spans = got["spans"]
            total.lost += got["lost"]
            total.unsure += there > accepted + SPANS
            if i % 10 == 9:
                status, said = check(f.store)
                expect(f"round {i}: store check:", status == 0, said)
    total.confirmed += len(ranges)


def test_kill_writer():
    total = Sum()
    for first in range(0, ROUNDS, STORE_ROUNDS):
        kill_again_and_again(random.Random(first + 1), min(STORE_ROUNDS, ROUNDS - first), total)
    said = f"{ROUNDS} kills, {total.confirmed} writers confirmed spans, {total.lost} spans lost and counted"
    expect("few writers got to a flush:", total.confirmed > ROUNDS / 3, said)
    expect("nothing was ever lost", total.lost > 0, said)
    expect("rounds with more than was accepted:", total.unsure <= ROUNDS / 20, total.unsure)
    print(said)


TESTS = [test_kill_writer]
