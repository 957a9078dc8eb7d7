# SPDX-License-Identifier: Apache-2.0
"""Spans for a running instance, and what it says of them."""

import json
import os
import re
import time
import urllib.error
import urllib.request


def push(port, when_s=None, fill=0):
    """One span; (status, its trace id)."""
    trace = os.urandom(16).hex()
    start = int((when_s or time.time()) * 1e9)
    span = {"traceId": trace, "spanId": os.urandom(8).hex(), "name": "x", "kind": 2,
            "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 1000),
            "attributes": [{"key": "fill", "value": {"stringValue": os.urandom(fill).hex()}}]}
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}
    rq = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", json.dumps(body).encode(),
                                {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(rq, timeout=30) as answer:
            return answer.status, trace
    except urllib.error.HTTPError as e:
        return e.code, trace


def has(port, trace):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/traces/{trace}", timeout=30) as a:
            return a.status == 200
    except urllib.error.HTTPError as e:
        if e.code != 404:
            raise
        return False


def metric(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return int(re.search(rf"^wirespan_{name} (\d+)$", answer.read().decode(), re.M)[1])
