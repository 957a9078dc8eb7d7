# SPDX-License-Identifier: Apache-2.0
"""Damage of every kind to a copy of a store, before it is opened: the program starts and serves what
is sound, never a span that is not the truth, and goes on writing. ROUNDS mutations
(WIRESPAN_DAMAGES); the real program takes part in some."""

import os
import random
import shutil
import subprocess

from common import Folder, base_s, check, expect, read, write

import wait
from collector import Collector

ROUNDS = int(os.environ.get("WIRESPAN_DAMAGES", "300"))
TRACES = 1200


def parts(store):
    return sorted(n for n in os.listdir(store) if os.path.isdir(os.path.join(store, n)))


def data(store, part):
    return os.path.join(store, part, "data.mdb")


def patch(path, off, new):
    with open(path, "r+b") as f:
        f.seek(off)
        f.write(new)


def flip_bits(rnd, store, count):
    path = data(store, rnd.choice(parts(store)))
    for _ in range(count):
        off = rnd.randrange(os.path.getsize(path))
        with open(path, "rb") as f:
            f.seek(off)
            old = f.read(1)[0]
        patch(path, off, bytes([old ^ 1 << rnd.randrange(8)]))


def flip_one(rnd, store):
    flip_bits(rnd, store, 1)


def flip_many(rnd, store):
    flip_bits(rnd, store, rnd.choice([3, 30, 300]))


def flip_heads(rnd, store):
    """Where LMDB's own numbers are: the first bytes of pages."""
    path = data(store, rnd.choice(parts(store)))
    for _ in range(rnd.choice([1, 4])):
        off = rnd.randrange(os.path.getsize(path) // 4096) * 4096 + rnd.randrange(48)
        patch(path, off, rnd.randbytes(1))


def flip_meta(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    patch(path, rnd.randrange(2) * 4096 + rnd.randrange(160), rnd.randbytes(rnd.choice([1, 8])))


def cut(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    os.truncate(path, rnd.randrange(os.path.getsize(path)))


def cut_pages(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    os.truncate(path, rnd.randrange(os.path.getsize(path) // 4096) * 4096)


def grow(rnd, store):
    with open(data(store, rnd.choice(parts(store))), "ab") as f:
        f.write(rnd.randbytes(rnd.randrange(9000)))


def page(rnd, path):
    return rnd.randrange(os.path.getsize(path) // 4096) * 4096


def zero_page(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    patch(path, page(rnd, path), bytes(4096))


def junk_page(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    patch(path, page(rnd, path), rnd.randbytes(4096))


def move_page(rnd, store):
    """A page in another's place, with the number of that place or without."""
    a, b = (data(store, p) for p in rnd.choices(parts(store), k=2))
    to = page(rnd, b)
    with open(a, "rb") as f:
        f.seek(page(rnd, a))
        got = f.read(4096)
    if rnd.randrange(2):
        got = (to // 4096).to_bytes(8, "little") + got[8:]
    patch(b, to, got)


def torn_sectors(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    patch(path, page(rnd, path) + rnd.randrange(8) * 512, rnd.choice([bytes(512),
                                                                      rnd.randbytes(512)]))


def swap_files(rnd, store):
    a, b = rnd.sample(parts(store), 2)
    tmp = os.path.join(store, "tmp")
    os.rename(data(store, a), tmp)
    os.rename(data(store, b), data(store, a))
    os.rename(tmp, data(store, b))


def swap_names(rnd, store):
    a, b = rnd.sample(parts(store), 2)
    tmp = os.path.join(store, "tmp")
    for old, new in ((a, "tmp"), (b, a), ("tmp", b)):
        os.rename(os.path.join(store, old), os.path.join(store, new))
    expect("", not os.path.exists(tmp))


def foreign(rnd, store):
    path = data(store, rnd.choice(parts(store)))
    kind = rnd.randrange(4)
    if kind == 0:
        shutil.copy("/bin/true", path)
    elif kind == 1:
        open(path, "wb").close()
    elif kind == 2:
        os.unlink(path)
    else:
        os.unlink(path)
        os.mkdir(path)


def foreign_names(rnd, store):
    name = rnd.choice(["20261122T13Z.damaged", "20261122T13Z.gone", "20261122T13Z.new", "x", "-",
                       "20261122T13Z", "20261122T13Z-2", "20261122T13Z.suspect", "format.new"])
    path = os.path.join(store, name)
    if rnd.randrange(2) and not os.path.exists(path):
        os.mkdir(path)
    elif not os.path.exists(path):
        with open(path, "wb") as f:
            f.write(rnd.randbytes(5000))


def lock_file(rnd, store):
    path = os.path.join(store, rnd.choice(parts(store)), "lock.mdb")
    with open(path, "wb") as f:
        f.write(rnd.randbytes(rnd.randrange(20000)))


MUTATIONS = [flip_one, flip_one, flip_one, flip_many, flip_heads, flip_heads, flip_meta, flip_meta,
             cut, cut_pages, grow, zero_page, zero_page, junk_page, move_page, move_page,
             torn_sectors, torn_sectors, swap_files, swap_names, foreign, foreign_names, lock_file]


def mutated(rnd, f, i):
    """A damaged copy; what was done to it."""
    store = os.path.join(f.path, "copy")
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(f.store, store)
    if rnd.randrange(2):  # as a crash leaves it: what was written to is looked at
        with open(os.path.join(store, "lock"), "w", encoding="ascii") as lock:
            lock.write("1\n")
        os.utime(os.path.join(store, "lock"), (0, 0))
    mutation = MUTATIONS[i % len(MUTATIONS)]
    mutation(rnd, store)
    return store, mutation.__name__


def same_partitions(store):
    return [p for p in parts(store) if not p.endswith((".damaged", ".gone", ".new"))]


def test_damage():
    rnd = random.Random(2)
    base, bad, seen, noticed = base_s(), [], set(), 0
    with Folder() as f:
        write(f.store, base, 1, TRACES)
        whole = read(f.store, base, f"1-{TRACES}")
        expect("the store before", whole["spans"] == 3 * TRACES and whole["missing"] == 0, whole)
        for i in range(ROUNDS):
            store, name = mutated(rnd, f, i)
            status, said = check(store)
            expect(f"{i} {name}: store check ended with {status}:", status in (0, 1), said)
            for _ in range(3):  # who watches over the program starts it again
                got = read(store, base, f"1-{TRACES}", "+")
                if got["status"] >= 0:
                    break
            lost = got.get("missing", 0) + got.get("incomplete", 0) > 0
            if got["status"] != 0 or got["wrong"]:
                bad.append(f"{i} {name}: {got}")
            elif lost and status == 0 and name not in ("foreign", "lock_file"):
                bad.append(f"{i} {name}: spans are missing and check is content: {got}")
            noticed += lost
            seen.add(name)
            again = read(store, base)
            if again["status"] != 0 or again["wrong"]:
                bad.append(f"{i} {name}, opened again: {again}")
    expect(f"{len(bad)} of {ROUNDS}:\n ", not bad, "\n  ".join(bad[:10]))
    expect("few mutations did damage:", noticed > ROUNDS / 5, noticed)


def test_damage_while_running():
    """The program itself: a partition is cut under its feet; it begins anew and serves the rest."""
    rnd = random.Random(3)
    base = base_s()
    with Folder() as f:
        write(f.store, base, 1, TRACES)
        with Collector(f.path, "--capture", "off", store=f.store) as c:
            pid = c.pid
            victim = parts(f.store)[1]
            os.truncate(data(f.store, victim), 8192)

            def begun_anew():
                n = rnd.randrange(450, 750)
                trace = n.to_bytes(8, "little").hex() + b"wirespan".hex()
                subprocess.run(["curl", "-s", f"http://127.0.0.1:{c.port}/api/v2/traces/{trace}"],
                               stdout=subprocess.DEVNULL, timeout=20, check=False)
                return f"{victim}.damaged" in os.listdir(f.store)

            wait.until("the cut partition set aside", begun_anew, 20, 0.2)
            wait.until("/ready", c.is_ready, 15, 0.05)
            expect("it has another pid", c.pid == pid)
            expect("a sentence", "is damaged" in c.log(), c.log())
            metrics = subprocess.run(["curl", "-s", f"http://127.0.0.1:{c.port}/metrics"],
                                     capture_output=True, text=True, check=True).stdout
            expect("store_damaged_total", "wirespan_store_damaged_total 1\n" in metrics)
        got = read(f.store, base, "+")
        expect("the rest", got["wrong"] == 0 and 0 < got["spans"] < 3 * TRACES, got)

TESTS = [test_damage, test_damage_while_running]
