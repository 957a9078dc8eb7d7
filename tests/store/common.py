# SPDX-License-Identifier: Apache-2.0
"""What the tests of the store share: the harness and the shim, built once; a folder of one's own; the
questions that each of them asks."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [os.path.join(HERE, "..", "lib")]
BUILD = os.path.join(ROOT, "build")
BINARY = os.path.join(BUILD, "wirespan")
HARNESS = os.path.join(BUILD, "tests", "store_harness")
SHIM = os.path.join(BUILD, "tests", "store_shim.so")
FOUND = re.compile(r"(\d+) spans, (\d+) wrong, (\d+) missing, (\d+) incomplete, (\d+) damaged, "
                   r"(\d+) unclean, (\d+) lost")


class Failed(Exception):
    pass


FLAGS = "-std=gnu11 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -g"


def link(out, source, optimize="-O1"):
    """A program over store/ alone."""
    libs = subprocess.run("pkg-config --libs jansson libprotobuf-c", shell=True, check=True,
                          capture_output=True, text=True).stdout
    os.makedirs(os.path.dirname(out), exist_ok=True)
    subprocess.run(f"gcc {FLAGS} {optimize} -o {shlex.quote(out)} {source} build/store/*.o build/proto/*.o {libs.strip()} "
                   "-llmdb -lpthread -lm", shell=True, check=True, cwd=ROOT)


def build():
    link(HARNESS, "tests/store/harness.c")
    subprocess.run(f"gcc {FLAGS} -O1 -shared -fPIC -o {shlex.quote(SHIM)} tests/store/shim.c -ldl", shell=True, check=True,
                   cwd=ROOT)


class Folder:
    """A temporary folder with a store in `.store`; below a folder of the caller's choice."""

    def __init__(self, below=None):
        self.below = below

    def __enter__(self):
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="wirespan-store-", dir=self.below))
        self.store = os.path.join(self.path, "store")
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)


def base_s():
    """The start of the harness's spans: two hours ago, a whole ten seconds."""
    return (int(time.time()) - 7200) // 10 * 10


def read(store, base, *args):
    """What the harness finds: a dict, with its status and what it said."""
    out = subprocess.run([HARNESS, "read", store, str(base), *args], capture_output=True, text=True,
                         errors="replace", timeout=60, check=False)
    m = FOUND.search(out.stdout)
    names = ("spans", "wrong", "missing", "incomplete", "damaged", "unclean", "lost")
    found = dict(zip(names, map(int, m.groups()))) if m else {}
    return {**found, "status": out.returncode, "said": out.stderr.strip()}


def write(store, base, first, last):
    subprocess.run([HARNESS, "write", store, str(base), str(first), str(last)], check=True,
                   stdout=subprocess.DEVNULL, timeout=60)


def check(store):
    """(status, text) of wirespan store check."""
    out = subprocess.run([BINARY, "store", "check", store], capture_output=True, text=True,
                         errors="replace", timeout=60, check=False)
    return out.returncode, out.stdout + out.stderr


def expect(what, cond, *more):
    if not cond:
        raise Failed(" ".join([what, *map(str, more)]))


def run(tests, only=()):
    """Runs functions; (passed, failed, skipped)."""
    counts = [0, 0, 0]
    for test in tests:
        if only and not any(o in test.__name__ for o in only):
            continue
        began = time.time()
        try:
            why = test()
        except Exception as e:  # pylint: disable=broad-except
            counts[1] += 1
            if not isinstance(e, Failed):
                traceback.print_exc()
            print(f"FAIL {test.__name__}: {type(e).__name__}: {e}", flush=True)
            continue
        counts[2 if why else 0] += 1
        print(f"{'skipped ' + why if why else 'ok'}: {test.__name__} "
              f"({time.time() - began:.1f} s)", flush=True)
    return counts
