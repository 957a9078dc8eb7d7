# SPDX-License-Identifier: Apache-2.0
"""The commands, by what they promise: an export imported into an empty instance is the same spans; a
folder of an older version (v1.tar.gz, v2.tar.gz: each written by the last program of that version) is
upgraded, also when the upgrade is killed again and again; stats, query and sentences."""

import json
import os
import random
import signal
import stat
import subprocess
import tarfile
import time
import urllib.request

from common import BINARY, HERE, Folder, Failed, base_s, check, expect, read, write

from collector import Collector

IMPORT_MAX = 12 << 20
TRACES = 1200


def tool(*args):
    out = subprocess.run([BINARY, *args], capture_output=True, text=True, errors="replace",
                         timeout=60, check=False)
    return out.returncode, out.stdout, out.stderr


def varint(buf, at):
    value = shift = 0
    while True:
        value |= (buf[at] & 0x7f) << shift
        shift += 7
        at += 1
        if buf[at - 1] < 0x80:
            return value, at


def bodies(buf):
    """The file cut between its ResourceSpans, each body as long as may be posted."""
    at = begin = 0
    while at < len(buf):
        expect("field 1 of TracesData at", buf[at] == 0x0a, at)
        length, after = varint(buf, at + 1)
        if after + length - begin > IMPORT_MAX and at > begin:
            yield buf[begin:at]
            begin = at
        at = after + length
    expect("the file ends with a message", at == len(buf))
    yield buf[begin:]


def post(port, body):
    rq = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", body,
                                {"Content-Type": "application/x-protobuf"})
    with urllib.request.urlopen(rq, timeout=30) as answer:
        return answer.read()


def export(store, to, *more):
    status, _, said = tool("store", "export", "--otlp", to, *more, store)
    expect("export:", status == 0, said)
    with open(to, "rb") as f:
        return f.read()


def test_export_and_back():
    base = base_s()
    with Folder() as f, Folder() as g:
        write(f.store, base, 1, TRACES)
        whole = export(f.store, os.path.join(f.path, "otlp"))
        with Collector(g.path, "--capture", "off", store=g.store) as c:
            for body in bodies(whole):
                expect("all are taken", post(c.port, body) == b"\x0a\x00")
        got = read(g.store, base, f"1-{TRACES}")
        expect("", got["spans"] == 3 * TRACES and not (got["wrong"] + got["missing"] +
               got["incomplete"]), got)
        middle = base + 3
        both = sum(int(export_cnt(f, *more)) for more in
                   (("--to", str(middle)), (f"--from={middle}",)))
        expect("two halves:", both in (3 * TRACES, 3 * TRACES + 1), both)


def export_cnt(f, *more):
    pipe = os.path.join(f.path, "pipe")
    if not os.path.exists(pipe):
        os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.DEVNULL) as cat:
        status, _, said = tool("store", "export", "--otlp", pipe, *more, f.store)
        if status:
            cat.kill()
    expect("export:", status == 0, said)
    expect("a pipe is not replaced", stat.S_ISFIFO(os.stat(pipe).st_mode))
    return said.split()[0]


def old(f, version):
    with tarfile.open(os.path.join(HERE, f"v{version}.tar.gz")) as tar:
        tar.extractall(f.path)
    os.rename(os.path.join(f.path, f"v{version}"), f.store)


OLD_FIRST, OLD_LAST = 385, 425
OLD_BASE = 1764144000


def old_is_whole(f):
    status, said = check(f.store)
    expect("store check:", status == 0, said)
    got = read(f.store, OLD_BASE, f"{OLD_FIRST}-{OLD_LAST}")
    expect("", got["spans"] == 3 * (OLD_LAST - OLD_FIRST + 1) and not (got["wrong"] + got["missing"] +
           got["incomplete"]), got)
    expect("leftovers:", not [n for n in os.listdir(f.store) if n.endswith((".new", ".gone"))],
           os.listdir(f.store))


def upgraded(version):
    with Folder() as f:
        old(f, version)
        for args in (("store", "check"), ("query", "{}", "--store")):
            status, _, said = tool(*args, f.store)
            expect("an old folder is refused with the command:", status == 2 and
                   f"`wirespan store upgrade {f.store}`" in said, status, said)
        status, out, said = tool("store", "upgrade", f.store)
        expect("upgrade:", status == 0 and out.count(f"version {version} -> 3") >= 2, out, said)
        old_is_whole(f)
        status, out, said = tool("store", "upgrade", f.store)
        expect("once more:", status == 0 and "is of this program's version" in out, out, said)


def test_upgrade():
    for version in (1, 2):
        upgraded(version)


def test_upgrade_at_start():
    """A newer program needs nobody's hand."""
    for version in (1, 2):
        with Folder() as f:
            old(f, version)
            with Collector(f.path, "--capture", "off", "--retention-max-age", "0", store=f.store) as c:
                with urllib.request.urlopen(f"http://127.0.0.1:{c.port}/status", timeout=10) as answer:
                    spans = json.load(answer)["store"]["spans"]
            expect("spans:", spans == 3 * (OLD_LAST - OLD_FIRST + 1), spans)
            old_is_whole(f)


def test_upgrade_killed():
    rnd = random.Random(5)
    kills = 0
    for version in (1, 2) * 3:
        with Folder() as f:
            old(f, version)
            for seconds in [rnd.uniform(0.0005, 0.012) for _ in range(8)]:
                p = subprocess.Popen([BINARY, "store", "upgrade", f.store],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(seconds)
                p.send_signal(signal.SIGKILL)
                kills += p.wait() == -signal.SIGKILL
            status, out, said = tool("store", "upgrade", f.store)
            expect("upgrade:", status == 0, out, said)
            old_is_whole(f)
    expect("few were killed:", kills > 10, kills)


def test_stats_and_query():
    base = base_s()
    with Folder() as f:
        write(f.store, base, 1, TRACES)
        status, out, said = tool("store", "stats", f.store)
        expect("stats:", status == 0 and f"in all: {3 * TRACES} spans" in out and
               "dictionary:  strings" in out, out, said)
        trace = (7).to_bytes(8, "little").hex() + b"wirespan".hex()
        status, out, said = tool("query", "--store", f.store, trace)
        expect("a trace:", status == 0 and f"trace {trace}  3 spans" in out, out, said)
        status, out, said = tool("query", "{ kind = server }", "--limit", "5", f"--store={f.store}")
        expect("a search:", status == 0 and len(out.splitlines()) == 5, out, said)
        status, out, said = tool("query", "{ name = ", "--store", f.store)
        expect("not TraceQL:", status == 1 and said.startswith("wirespan: "), status, said)


def test_sentences():
    with Folder() as f:
        for args, want in ((("store",), "which?"), (("store", "chekc"), "which?"),
                           (("store", "check", f.store), f.store),
                           (("store", "upgrade", f.store), f.store),
                           (("store", "export", f.store), "export to where?"),
                           (("store", "export", "--otlp", "-", "--from", "x", f.store), "--from"),
                           (("query",), "looked for"),
                           (("query", "{}", "--limit", "0"), "--limit"),
                           (("query", "{}", "--store", f.store), f.store)):
            status, _, said = tool(*args)
            if status != 2 or want not in said or said.count("\n") != 1:
                raise Failed(f"{args}: status {status}: {said}")
        expect("nothing was made", not os.path.exists(f.store))


TESTS = [test_export_and_back, test_upgrade, test_upgrade_at_start, test_upgrade_killed, test_stats_and_query,
         test_sentences]
