# SPDX-License-Identifier: Apache-2.0
"""The figures that the limits of the project are about, measured once, for the live tests and the
benchmark: time to the first span, what the kernel holds for a running collector, the binary's size.
"""

import contextlib
import glob
import json
import os
import subprocess
import tempfile
import threading
import time

import wait

MIB = 1 << 20


def stripped_size(binary):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", "-o", out.name, binary], check=True)
        return os.path.getsize(out.name)


class Drip:
    """One request after another through nginx, a few ms apart, until the end of the with."""

    def __init__(self, stack, pause=0.002):
        self.stack, self.pause, self.ended = stack, pause, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        conn = self.stack.connect()
        while not self.ended.wait(self.pause):
            self.stack.request("GET", "/api/todos", conn=conn)
        conn.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.thread.join()


def disk_bytes(folder):
    """As du sees it; what goes away meanwhile takes nothing."""
    bytes_ = 0
    for d, dirs, files in os.walk(folder):
        for f in dirs + files:
            with contextlib.suppress(FileNotFoundError):
                bytes_ += os.lstat(os.path.join(d, f)).st_blocks * 512
    return bytes_


def first_span(stack, collector):
    """Starts the collector while requests go on. Seconds from exec until (the first span began,
    /ready answered, a search found a span)."""
    with Drip(stack):
        collector.start()
        tempo = collector.tempo()
        wait.until("a first span", lambda: tempo.search("{ kind = server }", 1), 20, 0.005)
        found = time.time() - collector.started
    traces = tempo.search("{ kind = server }", 1000)
    began = min(int(t["startTimeUnixNano"]) for t in traces) / 1e9 - collector.started
    return began, collector.ready_after, found


def fdinfo(pid):
    """The kernel's own words on each open file of a process, one dict each."""
    for path in glob.glob(f"/proc/{pid}/fdinfo/*"):
        try:
            with open(path, encoding="ascii") as f:
                yield dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        except (FileNotFoundError, ValueError):
            continue


def bpf_maps(pid):
    """{map id: bytes that the kernel accounts to it}; without the elements of socket storage."""
    return {int(i["map_id"]): int(i["memlock"]) for i in fdinfo(pid) if "map_id" in i}


def bpf_programs(pid):
    """{program id: (runs, ns, bytes)}; runs and ns count while kernel.bpf_stats_enabled is 1."""
    return {int(i["prog_id"]): (int(i["run_cnt"]), int(i["run_time_ns"]), int(i["memlock"]))
            for i in fdinfo(pid) if "run_cnt" in i}


def bpf_facts(pid):
    """{program: the kernel's own words on it} of all that the process has loaded, by the program's full name."""
    return {program_name(i["prog_id"]): i for i in fdinfo(pid) if "verified_insns" in i}


def passed_over(pid):
    """Sends and receives that no program may have seen, at most: where the kernel preempts programs, each of these
    has a twin (kern/twin.h), and the kernel counts what it passes over. 0 where it does not."""
    missed = {name: int(fact["recursion_misses"]) for name, fact in bpf_facts(pid).items()}
    return sum(min(cnt, missed[f"{name}_twin"]) for name, cnt in missed.items()
               if name.startswith(("send", "receive")) and f"{name}_twin" in missed)


def program_name(prog_id):
    done = subprocess.run(["bpftool", "-j", "prog", "show", "id", prog_id], check=True,
                          capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin"})
    return json.loads(done.stdout)["name"]


def kmalloc_bytes():
    """Bytes in use in the kernel's general caches, where the elements of socket storage live."""
    total = 0
    with open("/proc/slabinfo", encoding="ascii") as f:
        for line in f:
            field = line.split()
            if field[0].startswith("kmalloc-"):
                total += int(field[1]) * int(field[3])
    return total
