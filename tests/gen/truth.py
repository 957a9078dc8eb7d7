# SPDX-License-Identifier: Apache-2.0
"""What a span must say, worked out from the generator's truth and nothing else.

expected(truth, ports) gives the attributes of the span of one exchange and side. A few values may be
one of several things (a text that was cut, rows that no message announces); those are predicates.
"""

import re

ID = re.compile(r"g=([0-9]+-[0-9]+-[0-9]+)")
KNOWN_METHODS = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"}
TARGET_SEEN, AGENT_SEEN, SQL_SEEN = 256, 384, 8192
BLANKS = 60  # behind a Host that is kept before it is trimmed


# Guesses and measurements; what they say is tested elsewhere.
UNCHECKED = {"http.route", "url.template", "network.peer.address", "client.address",
             "wirespan.first_byte_ns", "db.query.summary"}


class Maybe:
    """One of these; None: the attribute may be missing."""

    def __init__(self, *values):
        self.values = values

    def __eq__(self, other):
        return other in self.values

    def __repr__(self):
        return " or ".join(repr(v) for v in self.values)


class Beginning:
    """The beginning of a text that is longer than what is kept."""

    def __init__(self, text, least):
        self.text, self.least = text, least

    def __eq__(self, other):
        got = (other or "").rstrip("\ufffd")
        return len(got) >= self.least and self.text.startswith(got)

    def __repr__(self):
        return f"the beginning (at least {self.least}) of {self.text[:80]!r}…"


# --- HTTP ---

def split_path(s):
    path, _, query = s.partition("?")
    return path, query


def split_target(method, target, host):
    """(scheme, authority, path, query)"""
    m = re.match(r"([a-z]+)://([^/?#]*)", target)
    if m:
        path, query = split_path(target[m.end():])
        return m[1], m[2], path or "/", query
    if method == "CONNECT":
        return "http", target, "", ""
    return "http", host, *split_path(target)


def http_texts(t):
    """(target, host, agent, cut) as far as they are kept."""
    target = t["target"][:TARGET_SEEN - len(t["method"])]
    used, host, agent = len(t["method"]) + len(target), t["host"], t["agent"]
    cut = len(target) < len(t["target"])
    if used + len(agent) > AGENT_SEEN:
        return target, host, Beginning(agent, AGENT_SEEN - used - len(host) - BLANKS), True
    if used + len(host) + len(agent) + BLANKS > AGENT_SEEN:  # which comes first decides
        return (target, host, Beginning(agent, AGENT_SEEN - used - len(host) - BLANKS),
                True if cut else Maybe(True, None))
    return target, host, agent, True if cut else None


def http_url(scheme, authority, path, query, address, port):
    socket = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    url = f"{scheme}://{authority or socket}" + ("" if path == "*" else path)
    return url + (f"?{query}" if query else "")


def http_error(t):
    least = 500 if t["side"] == "SERVER" else 400
    if t["status"] >= least:
        return str(t["status"])
    return "connection_closed" if t.get("aborted") else None


def http_expected(t, conn, address):
    target, host, agent, cut = http_texts(t)
    known = t["method"] in KNOWN_METHODS
    scheme, authority, path, query = split_target(t["method"], target, host)
    name, _, port = authority.partition(":")
    return {
        "http.request.method": t["method"] if known else "_OTHER",
        "http.request.method_original": None if known else t["method"],
        "url.scheme": scheme,
        "url.path": path or None,
        "url.query": query or None,
        "url.full": http_url(scheme, authority, path, query, address, conn["server_port"])
        if t["side"] == "CLIENT" else None,
        "http.response.status_code": t["status"] or None,
        "http.request.body.size": t["request_size"],
        "http.response.body.size": t["response_size"] if t["status"] else None,
        "server.address": name or address,
        "server.port": int(port) if port else conn["server_port"],
        "network.protocol.version": t["version"],
        "user_agent.original": agent or None,
        "error.type": http_error(t),
        "wirespan.cut": cut,
        "wirespan.parent": "peer" if t["side"] == "SERVER" else
                           "header" if "trace" in t else "none",
    }


# --- PostgreSQL ---

def pgsql_error(t):
    if t.get("skipped"):
        return None
    return t.get("sqlstate") or ("connection_closed" if t.get("aborted") else None)


def pgsql_text(t):
    """(text, cut)"""
    if len(t.get("text", "").encode()) > SQL_SEEN:
        return Beginning(t["text"], SQL_SEEN - 300), True
    return t.get("text") or None, None


def pgsql_expected(t, conn, address):
    text, cut = pgsql_text(t)
    rows = t.get("rows")
    out = {
        "db.system.name": "postgresql",
        "db.namespace": f"g{t['round']}_{t['conn']}",
        "db.query.text": text,
        "db.response.status_code": None if t.get("skipped") else t.get("sqlstate"),
        "db.response.returned_rows": Maybe(rows, None) if t.get("rows_maybe") else rows,
        "server.address": address,
        "server.port": conn["server_port"],
        "error.type": pgsql_error(t),
        "wirespan.cut": cut,
        "wirespan.skipped": True if t.get("skipped") else None,
        "wirespan.parent": "peer" if t["side"] == "SERVER" else "none",
    }
    if "operation" in t:
        out["db.operation.name"] = t["operation"] or None
        out["db.collection.name"] = t["table"] or None
    return out


def expected(t, conn, address):
    make = http_expected if t["protocol"] == "http" else pgsql_expected
    out = make(t, conn, address)
    out["network.peer.port"] = conn["server_port" if t["side"] == "CLIENT" else "client_port"]
    return out


# --- which is which ---

def key_of_truth(t):
    """Exchanges with the same key are one, or repetitions of one text."""
    if t["protocol"] == "http":
        return t["id"]
    m = ID.search(t.get("text", ""))
    return f"g{t['round']}_{t['conn']}", m[1] if m else ""


def key_of_span(s):
    if "db.system.name" in s.attrs:
        m = ID.search(s.attrs.get("db.query.text", ""))
        return s.attrs.get("db.namespace", ""), m[1] if m else ""
    m = ID.search(s.attrs.get("url.query", "")) or ID.search(s.attrs.get("user_agent.original", ""))
    return m[1] if m else ""
