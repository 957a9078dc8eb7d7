# SPDX-License-Identifier: Apache-2.0
"""Disks that say no, under the running program: spans are refused with 503 and counted, one warning
stands in the log, what is stored is still found, and when the disk takes again so does the store, by
itself, with nothing lost of what was accepted. Small file systems need root: a full one, one without
inodes, a disk that gives I/O errors, one with a quota. What cannot be had from these, shim.c gives."""

import contextlib
import errno
import mmap
import os
import struct
import subprocess
import time

from common import SHIM, Folder, check, expect

import wait
from collector import Collector
from otlp import has, metric, push


class Control:
    """What shim.c is told: an errno for writes, an offset of the clock."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(16))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 16)

    def set(self, err=0, offset_s=0):
        self.map[:16] = struct.pack("<qq", err, offset_s)


@contextlib.contextmanager
def shimmed(f, *args):
    control = Control(os.path.join(f.path, "control"))
    env = {"LD_PRELOAD": SHIM, "SHIM_DIR": f.store, "SHIM_CTL": os.path.join(f.path, "control")}
    with Collector(f.path, "--capture", "off", *args, store=f.store, env=env) as c:
        yield c, control


def refuses(c, fill=0, when_s=None):
    """Until a span is refused; those that were accepted before."""
    accepted = []

    def refused():
        status, trace = push(c.port, when_s, fill)
        if status == 200:
            accepted.append(trace)
        return status == 503

    wait.until("a span refused", refused, 20, 0.05)
    return accepted


def says_no(c, begin, end, fill=0, when_s=None):
    """The whole story around one trouble; all that was accepted."""
    status, before = push(c.port)
    expect("a span before", status == 200)
    wait.until("it", lambda: has(c.port, before))
    begin()
    accepted = refuses(c, fill, when_s)
    for _ in range(3):
        expect("still refused", push(c.port)[0] == 503)
    expect("counted", metric(c.port, "store_rejected_total") >= 4)
    expect("queries go on", has(c.port, before))
    failed = metric(c.port, "store_commit_failures_total")
    wait.until("another try fails", lambda: metric(c.port, "store_commit_failures_total") > failed)
    warned = c.log().count("spans are refused until it works again")
    expect("one warning:", warned == 1, warned, c.log())
    end()
    status, after = wait.until("spans taken again", lambda: next(
        (x for x in [push(c.port)] if x[0] == 200), None), 20, 0.1)
    for trace in [before, after, *accepted]:
        wait.until("a span that was accepted", lambda t=trace: has(c.port, t))
    expect("a sentence", "takes spans again" in c.log(), c.log())
    expect("no damage", metric(c.port, "store_damaged_total") == 0)
    return [before, after, *accepted]


def errno_test(err):
    def test():
        with Folder() as f:
            with shimmed(f) as (c, control):
                says_no(c, lambda: control.set(err), control.set)
            status, said = check(f.store)
            expect("store check:", status == 0, said)

    test.__name__ = f"test_disk_{errno.errorcode[err]}"
    return test


@contextlib.contextmanager
def mounted(f, options):
    os.mkdir(f.store)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "wirespan-test", f.store], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", f.store], check=True)


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def disk(f, image, mib, *make):
    """A file as a disk, with a file system, mounted where the store is to be. It may be unmounted and mounted again
    meanwhile."""
    os.makedirs(f.store, exist_ok=True)
    with open(image, "wb") as to:
        to.truncate(mib << 20)
    run(*make, image)
    device = run("losetup", "--find", "--show", image)
    try:
        run("mount", device, f.store)
        yield device
    finally:
        subprocess.run(["umount", f.store], check=False, capture_output=True)
        run("losetup", "--detach", device)


def fill_up(path):
    """Until there is no room."""
    with open(path, "wb", buffering=0) as to, contextlib.suppress(OSError):
        while to.write(bytes(4096)) == 4096:
            pass


@contextlib.contextmanager
def limited(f):
    """A btrfs with a folder that may take 16 MiB."""
    with disk(f, os.path.join(f.path, "image"), 256, "mkfs.btrfs", "-q"):
        folder = os.path.join(f.store, "limited")
        run("btrfs", "quota", "enable", f.store)
        run("btrfs", "subvolume", "create", folder)
        run("btrfs", "qgroup", "limit", "16M", folder)
        yield folder


def free(filler):
    """A quota knows of it when the file system has written down that the file is gone."""
    os.unlink(filler)
    run("sync", "--file-system", os.path.dirname(filler))


def test_quota():
    if os.geteuid():
        return "(needs root)"
    with Folder() as f, limited(f) as store:
        filler = os.path.join(store, "filler")
        with Collector(f.path, "--capture", "off", store=store) as c:
            says_no(c, lambda: fill_up(filler), lambda: free(filler), fill=100000)
            expect("it was EDQUOT:", os.strerror(errno.EDQUOT) in c.log(), c.log())
        status, said = check(store)
        expect("store check:", status == 0, said)
    return None


def test_start_on_full_disk():
    if os.geteuid():
        return "(needs root)"
    with Folder() as f, limited(f) as store:
        with Collector(f.path, "--capture", "off", store=store) as c:
            before = push(c.port)[1]
            wait.until("it", lambda: has(c.port, before))
        filler = os.path.join(store, "filler")
        fill_up(filler)
        with Collector(f.path, "--capture", "off", store=store) as c:
            expect("queries", has(c.port, before))
            refuses(c, 100000)
            expect("queries go on", has(c.port, before))
            free(filler)
            wait.until("spans taken again", lambda: push(c.port)[0] == 200, 20, 0.1)
        status, said = check(store)
        expect("store check:", status == 0, said)
    return None


def test_io_errors():
    """The disk is a file below a quota: what it may not take, the kernel calls an I/O error, some
    time after write() took it. At the end what is on the disk is looked at, not what the kernel still
    knows."""
    if os.geteuid():
        return "(needs root)"
    with Folder() as below, Folder() as f, limited(below) as folder, disk(
            f, os.path.join(folder, "image"), 64, "mkfs.ext4", "-q", "-O", "^has_journal", "-E",
            "lazy_itable_init=0,nodiscard") as device:
        filler = os.path.join(folder, "filler")
        with Collector(f.path, "--capture", "off", store=f.store) as c:
            traces = says_no(c, lambda: fill_up(filler), lambda: free(filler), fill=100000)
            expect("it was EIO:", os.strerror(errno.EIO) in c.log(), c.log())
        run("umount", f.store)
        run("mount", device, f.store)
        status, said = check(f.store)
        expect("store check:", status == 0, said)
        with Collector(f.path, "--capture", "off", store=f.store) as c:
            expect("all is there", all(has(c.port, t) for t in traces))
    return None


def test_full_disk():
    if os.geteuid():
        return "(needs root)"
    with Folder() as f, mounted(f, "size=12m"):
        filler = os.path.join(f.store, "filler")
        with Collector(f.path, "--capture", "off", store=f.store) as c:
            says_no(c, lambda: fill_up(filler), lambda: os.unlink(filler), fill=100000)
        status, said = check(f.store)
        expect("store check:", status == 0, said)
    return None


def test_no_inodes():
    if os.geteuid():
        return "(needs root)"
    with Folder() as f, mounted(f, "size=64m,nr_inodes=40"):
        names = []

        def begin():
            with contextlib.suppress(OSError):
                for i in range(100):
                    open(os.path.join(f.store, f"x{i}"), "wb").close()
                    names.append(os.path.join(f.store, f"x{i}"))

        def end():
            for name in names:
                os.unlink(name)

        with Collector(f.path, "--capture", "off", store=f.store) as c:
            # Another hour's partition cannot be made.
            says_no(c, begin, end, when_s=time.time() - 5 * 3600)
        status, said = check(f.store)
        expect("store check:", status == 0, said)
    return None


TESTS = [errno_test(e) for e in (errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOSPC)]
TESTS += [test_full_disk, test_no_inodes, test_quota, test_start_on_full_disk, test_io_errors]
