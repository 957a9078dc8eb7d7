# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition with a deadline, the only kind of waiting that the tests do."""

import os
import time

# How many times slower this machine is than those that the tests' numbers are made for (tests/vm sets
# it): deadlines are multiplied by it, loads divided.
SLOW = int(os.environ.get("LIVE_SLOW", "1"))


class TimedOut(Exception):
    pass


def until(what, condition, seconds=10.0, pause=0.02):
    """Returns the first true value of condition(); TimedOut names what did not come."""
    seconds *= SLOW
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimedOut(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
