# SPDX-License-Identifier: Apache-2.0
"""A running `wirespan run` as an object: start, wait until ready, memory, stop, kill.

Used by the demo, the live tests and the benchmark. The process gets a session of its own and is
ended by its id. Its standard error goes to a file, which is where a test looks for the sentence.
"""

import os
import re
import signal
import socket
import subprocess
import time
import http.client

import wait
from stack import ROOT
from tempo import Tempo

BINARY = os.path.join(ROOT, "build", "wirespan")
READY_SECONDS = 15
STOP_SECONDS = 15


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class NotReady(Exception):
    pass


class Collector:
    def __init__(self, folder, *args, store=None, env=None):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.store = store or os.path.join(folder, "store")
        self.log_path = os.path.join(folder, "wirespan.log")
        self.port = free_port()
        self.args = [BINARY, "run", "--listen", f"127.0.0.1:{self.port}", "--store", self.store,
                     *args]
        self.env = {**os.environ, **(env or {})}
        self.process = None
        self.started = None  # wall clock, at exec
        self.ready_after = None  # seconds

    def spawn(self):
        self.started = time.time()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.env, start_new_session=True)
        return self

    def start(self):
        self.spawn()
        try:
            wait.until("/ready", self.is_ready, READY_SECONDS, 0.005)
        except wait.TimedOut as e:
            self.kill()
            raise NotReady(f"{e}; it said: {self.log()}") from None
        self.ready_after = time.time() - self.started
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise NotReady(f"wirespan ended with status {self.process.returncode}: {self.log()}")
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            conn.request("GET", "/ready")
            return conn.getresponse().status == 200
        except OSError:
            return False
        finally:
            conn.close()

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(STOP_SECONDS)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def tempo(self):
        return Tempo(self.port)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()

    def rss_anon(self):
        """Bytes of anonymous memory, the number that the limits are about."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            return int(re.search(r"RssAnon:\s+(\d+) kB", f.read())[1]) * 1024

    def rss_at_rest(self, seconds=10):
        """Once it no longer moves: the same number three times, half a second apart."""
        seen = []

        def still():
            seen.append(self.rss_anon())
            return len(seen) >= 3 and len(set(seen[-3:])) == 1

        wait.until("RssAnon at rest", still, seconds, 0.5)
        return seen[-1]
