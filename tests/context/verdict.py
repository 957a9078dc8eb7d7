# SPDX-License-Identifier: Apache-2.0
"""Judges the calls' spans by the truth, and the figures by the goals; makes the table. Pure.

A call is right when its parent is the SERVER span of the request whose id it carries; the timer's
calls are right without a parent. none: no parent, which is honest; wrong: any other parent.
"""

import collections

EVIDENCE = 20
EXACT = ("go", "python_threads", "nginx", "nginx_limited", "c_epoll", "php_fpm")  # never a wrong one
WRONG_SHARE = 0.001
RIGHT_SHARE = {("go", "http"): 0.99, ("go", "sql"): 0.99, ("python_threads", "http"): 0.99,
               ("python_threads", "sql"): 0.99, ("nginx", "http"): 0.99,
               ("java", "sql"): 0.99, ("node", "http"): 0.95, ("node", "sql"): 0.95,
               ("asyncio", "http"): 0.95, ("asyncio", "sql"): 0.95}
APART = ("java", "java_tasks")  # their calls of each kind have a row of their own in the table


def judge(call, servers):
    own = "/r/" + call.key[1]
    if call.key[1] == "bg":
        return "wrong" if call.parent else "right"
    if not call.parent:
        return "none"
    return "right" if servers.get(call.parent) == own else "wrong"


def evidence(program, connections, call, spans):
    if call.parent in spans.servers:
        whose = "SERVER " + spans.servers[call.parent]
    else:
        whose = "".join("CLIENT " + c.text for c in spans.calls if c.id == call.parent)
    return {"program": program, "connections": connections, "wrong_span": call.text,
            "span": call.id, "trace": call.trace, "parent": call.parent,
            "whose": whose or "not found", "how": call.how}


def rows(program, connections, truth, spans):
    """One row for each kind of calls and one for all that requests made; lines about wrong ones."""
    sums = {kind: collections.Counter() for kind in sorted(map(program.kind, truth.attempted))}
    hows = {kind: collections.Counter() for kind in sums}
    left, wrongs = collections.Counter(truth.attempted), []
    for call in spans.calls:
        if call.key not in truth.attempted:
            continue  # a tick before or behind, or what a driver does of its own accord
        kind, how = program.kind(call.key), judge(call, spans.servers)
        sums[kind]["extra" if left[call.key] == 0 else how] += 1
        hows[kind][call.how] += 1
        left[call.key] -= left[call.key] > 0
        if how == "wrong":
            wrongs.append(evidence(program.name, connections, call, spans))
    for key, cnt in truth.attempted.items():
        sums[program.kind(key)]["attempted"] += cnt
        sums[program.kind(key)]["missing"] += left[key]
    own = [kind for kind in sums if kind != "background"]
    sums["all"] = sum((sums[kind] for kind in own), collections.Counter())
    hows["all"] = sum((hows[kind] for kind in own), collections.Counter())
    return [{"program": program.name, "connections": connections, "calls": kind,
             **{k: n[k] for k in ("attempted", "right", "none", "wrong", "missing", "extra")},
             "how": dict(hows[kind])} for kind, n in sums.items()], wrongs[:EVIDENCE]


def sentence(found):
    """Of the rows of one measurement."""
    out = []
    for row in found:
        n = {k: row[k] for k in ("right", "none", "wrong", "missing", "extra") if row[k]}
        out.append(f"{row['calls']} {row['attempted']} = " +
                   " + ".join(f"{v} {k}" for k, v in n.items()))
    return "; ".join(out)


def goals_missed(found):
    """In sentences; the share is that of the calls that were made."""
    out = []

    def want(good, row, what):
        if not good:
            where = f"{row['program']}, {row['connections']} connections, {row['calls']}"
            out.append(f"{where}: {what}")

    for row in found:
        if row["calls"] == "all":
            continue
        cnt, share = row["attempted"], RIGHT_SHARE.get((row["program"], row["calls"]), 0)
        allowed = 0 if row["program"] in EXACT else WRONG_SHARE
        want(row["wrong"] <= allowed * cnt, row, f"{row['wrong']} of {cnt} wrong")
        want(row["right"] >= share * cnt, row,
             f"{100 * row['right'] / cnt:.1f} % right, not {100 * share:g} %")
        want(row["missing"] == 0, row, f"{row['missing']} of {cnt} missing")
        want(row["extra"] == 0, row, f"{row['extra']} spans more than calls")
    return out


def percent(row, key):
    share = 100 * row[key] / max(row["attempted"], 1)
    return f"{share:.1f}" if share in (0, 100) or 0.05 <= share < 99.95 else f"{share:.2f}"


def table_rows(found):
    """{name: [row]} of those that the table shows."""
    out = collections.defaultdict(list)
    for row in found:
        is_apart = row["program"] in APART
        if row["calls"] != "background" and is_apart == (row["calls"] != "all"):
            out[f"{row['program']}, {row['calls']}" if is_apart else row["program"]].append(row)
    return out


def timer_of(row, found):
    """How many of the timer's calls have a parent."""
    for r in found:
        if r["calls"] == "background" and all(r[k] == row[k] for k in ("program", "connections")):
            return f"{r['wrong']} of {r['attempted']}"
    return "–"


def markdown(found):
    """For the README."""
    lines = ["| program | connections | right % | none % | wrong % | timer's wrong |",
             "|---|---|---|---|---|---|"]
    for name, row in ((name, row) for name, some in table_rows(found).items() for row in some):
        shares = " | ".join(percent(row, k) for k in ("right", "none", "wrong"))
        lines.append(f"| {name} | {row['connections']} | {shares} | {timer_of(row, found)} |")
    return "\n".join(lines)
