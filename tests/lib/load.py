# SPDX-License-Identifier: Apache-2.0
"""Load on the stack: one request after another, or wrk with a fixed number of requests.

Every request carries a rid of its own. wrk knows only durations, so its script (wrk_rid.lua) makes
it fall silent after the wished number, and the end is read from nginx's access log: no request is
cut off in the middle, and whatever differs from the log is a defect of ours.
"""

import os
import re
import signal
import subprocess

import wait

SCRIPT = os.path.join(os.path.dirname(__file__), "wrk_rid.lua")
THREADS = 2
RUN_SECONDS = 300


def scaled(cnt):
    """A load as this machine can bear it; even, for wrk's two threads."""
    return max(cnt // wait.SLOW // THREADS * THREADS, THREADS)


def sequential(stack, prefix, cnt):
    """cnt requests over one connection; nginx's log of them."""
    since, conn = stack.log_size(), stack.connect()
    for n in range(cnt):
        target = f"/api/todos?limit={1 + n % 10}&rid={prefix}{n}"
        status, _, _ = stack.request("GET", target, conn=conn)
        assert status == 200, f"request {n}: {status}"
    conn.close()
    return stack.log_of(cnt, since)


class Wrk:
    """with Wrk(stack, 'w', 20000) as w: … w.log()"""

    def __init__(self, stack, prefix, cnt, kind="list", connections=8):
        assert cnt % THREADS == 0
        self.stack, self.cnt, self.since = stack, cnt, stack.log_size()
        self.output = None
        self.process = subprocess.Popen(
            [*stack.within, "/usr/bin/wrk", "-t", str(THREADS), "-c", str(connections), "-d", str(RUN_SECONDS),
             "-s", SCRIPT, f"http://127.0.0.1:{stack.port}", "--", prefix,
             str(cnt // THREADS), kind],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True)

    def progress(self):
        return self.stack.log_lines(self.since)

    def wait(self, while_waiting=lambda: None):
        """Until nginx has logged all of them; then ends wrk, which prints its numbers."""
        def logged():
            while_waiting()
            assert self.process.poll() is None, "wrk ended early: " + self.process.stdout.read()
            return self.progress() >= self.cnt

        wait.until(f"{self.cnt} requests by wrk", logged, RUN_SECONDS, 0.05)
        self.stop()
        return self.stack.log(self.since)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.output = self.output or self.process.communicate(timeout=30)[0]

    def failures(self):
        """What wrk itself complains of; [] when every request was answered."""
        return re.findall(r"Non-2xx.*|Socket errors.*", self.output)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
