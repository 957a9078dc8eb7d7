# SPDX-License-Identifier: Apache-2.0
"""What Wirespan does with this very kernel: the hooks that `wirespan status` names are the best that
the kernel has, and the verifier's work for each program stays within tests/vm/budget.txt.

The truth about hooks is the release in which Linux got each of them. A budget may be passed by 15 %:
the verifier refuses a program at 1,000,000 instructions and takes seconds long before, and what a
change costs differs from kernel to kernel, so it is found here rather than on somebody's machine.
"""

import os
import re
import subprocess

import pytest

from collector import BINARY
from measure import bpf_facts
from stack import ROOT
from tempo import KERNEL, PREEMPTED

BUDGET = os.path.join(ROOT, "tests", "vm", "budget.txt")
SLACK_PERCENT = 15

ALWAYS, NEVER = (0, 0), (1000, 0)
HOOKS = (  # of each verb in the order of preference; the kernels that have it: from, until
    ("send", "tp_btf/tcp_sendmsg_locked", (6, 16), NEVER),
    ("send", "fentry/tcp_sendmsg_locked", ALWAYS, NEVER),
    ("receive", "tp_btf/sock_recv_length", (6, 3), NEVER),
    ("receive", "fexit/tcp_recvmsg", ALWAYS, NEVER),
    ("send_unix", "tp_btf/sock_send_length", (6, 3), NEVER),
    ("send_unix", "fexit/unix_stream_sendmsg", ALWAYS, NEVER),
    ("receive_unix", "tp_btf/sock_recv_length", (6, 3), NEVER),
    ("receive_unix", "fexit/unix_stream_recvmsg", ALWAYS, NEVER),
    ("send_pages", "fentry/do_tcp_sendpages", ALWAYS, (6, 5)),
    ("receive_mptcp", "tp_btf/sock_recv_length", (6, 3), NEVER),
    ("receive_mptcp", "fexit/mptcp_recvmsg", ALWAYS, NEVER),
    ("loop_turns", "tp_btf/sys_exit", ALWAYS, NEVER),
)
FUNCTIONS = ("go_starts", "go_started", "go_round_trip", "scope_entered", "scope_copied")
USED = {"in use", "ready for when it is needed"}


def expected():
    """{'verb: hook': what status may say of it} on this kernel"""
    out, served = {}, set()
    for verb, hook, since, until in HOOKS:
        there = since <= KERNEL < until
        out[f"{verb}: {hook}"] = ({"this kernel does not have it"} if not there else
                                  {"not needed"} if verb in served else USED)
        if there:
            served.add(verb)
    return out


@pytest.fixture(scope="module")
def hooks(collector):
    """{'send: tp_btf/…': what status says of it}"""
    done = subprocess.run([BINARY, "status", "--listen", f"127.0.0.1:{collector.port}"],
                          capture_output=True, text=True, check=True, timeout=60)
    return dict(re.findall(r"^  (\w+: \w+/\w+) +(.+)$", done.stdout, re.M))


@pytest.mark.parametrize("hook", expected())
def test_hook(hooks, hook):
    assert hooks[hook] in expected()[hook]


def test_no_hook_without_a_test(hooks):
    assert set(hooks) == set(expected())


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_function(collector, verb):
    """Hooks at functions of traced programs: every kernel of ours takes them."""
    notes = collector.tempo().get_json("/status")["notes"]["providers"]
    assert {v for k, v in notes.items() if k.startswith(verb + ": ")} <= USED


def calls(pid, program):
    """The kernel's own words for what the loaded program does."""
    done = subprocess.run(["bpftool", "prog", "dump", "xlated", "id", bpf_facts(pid)[program]["prog_id"]], check=True,
                          capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin"})
    return done.stdout


def test_preemption_is_put_off(collector):
    """Where programs on tracepoints are preempted, and only there: it costs 50 ns a run."""
    assert ("bpf_local_irq_restore" in calls(collector.pid, "sock_state")) == PREEMPTED


def budgets():
    """{program: instructions} of the budget's rows for this kernel."""
    with open(BUDGET, encoding="ascii") as f:
        rows = [line.split() for line in f if line.strip() and not line.startswith("#")]
    return {program: int(cnt) for program, kernel, cnt in rows
            if kernel == ".".join(str(n) for n in KERNEL)}


def over_budget(seen, budget):
    for program, cnt in sorted(seen.items()):
        if program not in budget:
            yield f"{program} has no row: the verifier looks at {cnt} instructions ({BUDGET})"
        elif cnt * 100 > budget[program] * (100 + SLACK_PERCENT):
            more = 100 * cnt // budget[program] - 100
            yield (f"{program}: the verifier looks at {cnt} instructions, {more} % more than the "
                   f"budget of {budget[program]} ({BUDGET})")


def test_verifier_budget(collector):
    budget = budgets()
    if not budget:
        pytest.skip(f"{BUDGET} has no rows for this kernel")
    seen = {program: int(i["verified_insns"]) for program, i in bpf_facts(collector.pid).items()}
    assert len(seen) >= 8, seen
    over = list(over_budget(seen, budget))
    rows = [f"{program:<20}{'.'.join(map(str, KERNEL)):<7}{cnt}" for program, cnt in seen.items()]
    assert not over, "\n".join(over + ["These would be its rows now:"] + rows)


def test_budget_can_be_passed():
    assert list(over_budget({"a": 115}, {"a": 100})) == []
    assert "16 % more" in list(over_budget({"a": 116}, {"a": 100}))[0]
    assert "no row" in list(over_budget({"b": 1}, {"a": 100}))[0]
