# SPDX-License-Identifier: Apache-2.0
"""The demo's stack (scripts/stack) as an object: ports, requests through nginx, nginx's access log.

Used by the demo, the live tests and the benchmark. Knows nothing of Wirespan. The access log is the
truth that spans are compared with, so a reader waits until nginx has written all that it expects.
"""

import http.client
import json
import os
import subprocess

import wait

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
SCRIPT = os.path.join(ROOT, "scripts", "stack")


class Stack:
    within = ()  # the words of a command that leads to where nginx listens

    def __init__(self, folder, settings=()):
        """settings: STACK_… of scripts/stack."""
        self.folder, self.settings = folder, dict(settings)
        self.env = {}

    def up(self):
        self.script("up")
        with open(os.path.join(self.folder, "env"), encoding="ascii") as f:
            self.env = dict(line.strip().split("=", 1) for line in f)
        return self

    def down(self):
        self.script("down")

    def script(self, verb):
        """In a session of its own: a Ctrl-C is for our caller, and the script ends in order."""
        args = [SCRIPT, verb, self.folder]
        script = subprocess.Popen(args, start_new_session=True, env={**os.environ, **self.settings})
        try:
            status = script.wait()
        except BaseException:
            script.terminate()
            script.wait()
            raise
        if status != 0:
            raise subprocess.CalledProcessError(status, args)

    def __enter__(self):
        return self.up()

    def __exit__(self, *exc):
        self.down()

    @property
    def port(self):
        return int(self.env["NGINX_PORT"])

    @property
    def ports(self):
        """All three, as --open-ports wants them."""
        return ",".join(self.env[k] for k in ("NGINX_PORT", "API_PORT", "PG_PORT"))

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, method, target, body=None, headers=None, conn=None):
        """(status, headers, body) of one request through nginx."""
        own = conn or self.connect()
        data = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        own.request(method, target, data, {"User-Agent": "wirespan-test", **(headers or {})})
        answer = own.getresponse()
        text = answer.read()
        if conn is None:
            own.close()
        return answer.status, answer.headers, text

    @property
    def log_path(self):
        return os.path.join(self.folder, "nginx", "access.log")

    def log_size(self):
        return os.path.getsize(self.log_path)

    def log(self, since=0):
        """The entries that nginx wrote behind byte `since`, without one that is being written."""
        with open(self.log_path, "rb") as f:
            f.seek(since)
            return [json.loads(line) for line in f if line.endswith(b"\n")]

    def log_lines(self, since=0):
        with open(self.log_path, "rb") as f:
            f.seek(since)
            return sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))

    def log_of(self, cnt, since=0, seconds=60):
        """The log once it has (at least) cnt entries behind `since`."""
        wait.until(f"{cnt} lines in the access log", lambda: self.log_lines(since) >= cnt, seconds)
        return self.log(since)
