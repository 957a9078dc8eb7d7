#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""client.py ADDRESS PORT PREFIX CNT: asks for PREFIX-0 and on, each on a connection of its own.

Prints "ready" and waits for a line. Then tries to connect without a pause until somebody listens, so
that the first request comes as early as one can come, and prints the path and the status of each
answer: the truth of the tests.
"""

import http.client
import sys
import time


def main(address, port, prefix, cnt):
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + 30
    for n in range(int(cnt)):
        while True:
            conn = http.client.HTTPConnection(address, int(port), timeout=30)
            try:
                conn.connect()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
        conn.request("GET", f"{prefix}-{n}")
        answer = conn.getresponse()
        answer.read()
        conn.close()
        print(f"{prefix}-{n}", answer.status, flush=True)


main(*sys.argv[1:])
