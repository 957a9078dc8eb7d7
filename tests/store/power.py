# SPDX-License-Identifier: Apache-2.0
"""Power cuts: all that the writer does to the disk is written down (shim.c), then played back up to any
place into a fresh folder, with what POSIX lets a cut take: of the writes to a file since its last
sync any are missing, one is torn at a sector; of the names since the last sync of their folder the
last ones are missing. Each state must open, be clean by `store check`, hold no wrong span, and have
all that was confirmed more than DURABLE_NS before. CUTS states (WIRESPAN_CUTS)."""

import collections
import os
import random
import shutil
import subprocess

from common import HARNESS, SHIM, Folder, base_s, check, expect, read

CUTS = int(os.environ.get("WIRESPAN_CUTS", "200"))
DURABLE_NS = 1_000_000_000
MEMORY = "/dev/shm"  # a busy disk's own time is not the program's
SECTOR = 512

Op = collections.namedtuple("Op", "ns kind args data")


def parse_log(path):
    ops = []
    with open(path, "rb") as f:
        while line := f.readline():
            ns, kind, *args = line.decode().rstrip("\n").split(" ")
            data = f.read(int(args[2])) if kind == "write" else b""
            ops.append(Op(int(ns), kind, args, data))
    return ops


class File:
    """What of a file is on the disk, and what may be."""

    def __init__(self):
        self.sure = bytearray()
        self.pending = []  # (offset, bytes), or a length

    @staticmethod
    def put(to, what):
        if isinstance(what, int):
            del to[what:]
            to.extend(bytes(what - len(to)))
            return
        off, data = what
        if len(to) < off + len(data):
            to.extend(bytes(off + len(data) - len(to)))
        to[off:off + len(data)] = data

    def sync(self):
        for what in self.pending:
            self.put(self.sure, what)
        self.pending = []

    def after_cut(self, rnd):
        got = bytearray(self.sure)
        mode = rnd.randrange(4)  # nothing of it, all of it, any of it in any order, a beginning
        some = {0: [], 1: list(self.pending), 3: self.pending[:rnd.randrange(
            len(self.pending) + 1)]}.get(mode)
        if some is None:
            some = [w for w in self.pending if rnd.randrange(2)]
            # Overlapping writes keep their order (one page cache); others' order does not show.
        for i, what in enumerate(some):
            if i == len(some) - 1 and not isinstance(what, int) and mode >= 2:
                off, data = what
                for at in range(0, len(data), SECTOR):
                    if rnd.randrange(2):
                        self.put(got, (off + at, data[at:at + SECTOR]))
            else:
                self.put(got, what)
        return got


class Disk:
    def __init__(self):
        self.files = {}
        self.names, self.sure_names = {}, {}  # path: inode, or None for a folder
        self.inodes_of_folders = {}

    def play(self, op):
        a = op.args
        if op.kind == "write":
            file = self.files.setdefault(a[0], File())
            file.pending.append((int(a[1]), op.data))
            if a[3] == "1":  # O_DSYNC: this write alone
                file.put(file.sure, file.pending.pop())
        elif op.kind == "truncate":
            self.files.setdefault(a[0], File()).pending.append(int(a[1]))
        elif op.kind == "sync":
            if a[0] in self.files:
                self.files[a[0]].sync()
            else:
                self.sync_folder(self.inodes_of_folders.get(a[0], ""))
        elif op.kind in ("create", "mkdir"):
            self.names[a[1]] = a[0] if op.kind == "create" else None
            if op.kind == "create":
                self.files.setdefault(a[0], File())
            else:
                self.inodes_of_folders[a[0]] = a[1]
        elif op.kind == "unlink":
            self.names.pop(a[0], None)
        elif op.kind == "rename":
            for old in [n for n in self.names if n == a[0] or n.startswith(a[0] + "/")]:
                self.names[a[1] + old[len(a[0]):]] = self.names.pop(old)
            for ino, path in self.inodes_of_folders.items():
                if path == a[0]:
                    self.inodes_of_folders[ino] = a[1]

    def sync_folder(self, folder):
        """Names are in a journal: what came before any of these is there too, as on ext4 and xfs; and
        a cut between syncs may take them all."""
        del folder
        self.sure_names = dict(self.names)

    def cut(self, rnd, to, before):
        """Writes a state into the folder `to`, which has what was there before all this."""
        shutil.copytree(before, to)
        names = rnd.choice([self.sure_names, self.names])
        for path, ino in sorted(names.items()):
            whole = os.path.join(to, path)
            if ino is None:
                os.makedirs(whole, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            data = self.files[ino].after_cut(rnd)
            if path.endswith("lock.mdb"):  # written through a map: anything
                data = rnd.choice([data, bytearray(8192), bytearray(rnd.randbytes(8192))])
            with open(whole, "wb") as f:
                f.write(data)


def record(f, base, log):
    """A writer's life of some seconds, written down; what it confirmed: [(ns, trace)]."""
    env = {**os.environ, "LD_PRELOAD": SHIM, "SHIM_LOG": log, "SHIM_DIR": f.store}
    out = subprocess.run([HARNESS, "write", f.store, str(base), "1", "1500", "25"], env=env,
                         check=True, capture_output=True, text=True, timeout=60).stdout
    return [(int(ns), int(n)) for n, ns in (line.split() for line in out.splitlines())]


def state_is_good(store, base, durable):
    got = read(store, base, *([f"1-{durable}"] if durable else []), "+")
    expect("", got["status"] == 0 and not (got["wrong"] + got["missing"] + got["incomplete"] +
           got["damaged"] + got["unclean"]), got, f"durable: {durable}")
    status, said = check(store)
    expect("store check:", status == 0, said)


def test_power_cut():
    rnd = random.Random(4)
    base, bad = base_s(), []
    with Folder(MEMORY) as f:
        log, before = os.path.join(f.path, "log"), os.path.join(f.path, "before")
        subprocess.run([HARNESS, "read", f.store, str(base)], check=True, stdout=subprocess.DEVNULL)
        shutil.copytree(f.store, before)
        confirmed, ops = record(f, base, log), parse_log(log)
        expect("the log", len(ops) > 500 and len(confirmed) > 50, len(ops), len(confirmed))
        times = sorted(rnd.choice(ops).ns if n % 2 else rnd.randrange(ops[0].ns, ops[-1].ns)
                       for n in range(CUTS))
        disk, at = Disk(), 0
        for now in times:
            while at < len(ops) and ops[at].ns <= now:
                disk.play(ops[at])
                at += 1
            durable = max((n for ns, n in confirmed if ns < now - DURABLE_NS), default=0)
            store = os.path.join(f.path, "cut")
            shutil.rmtree(store, ignore_errors=True)
            disk.cut(rnd, store, before)
            # `store check` looks before anybody mended anything, too.
            status, said = check(store)
            try:
                expect(f"check ended with {status}:", status == 0, said)
                state_is_good(store, base, durable)
            except Exception as e:  # pylint: disable=broad-except
                bad.append(f"after {ops[at - 1].kind}, {at} of {len(ops)}: {e}")
        expect("little was ever durable:", durable > 300, durable)
    expect(f"{len(bad)} of {CUTS}:\n ", not bad, "\n  ".join(bad[:8]))


TESTS = [test_power_cut]
