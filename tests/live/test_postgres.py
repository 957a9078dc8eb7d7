# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's own clients: psql, pgbench, libpq's pipelines, COPY, passwords.

The server is the stack's, with databases of this module's own. The truth is what pgbench reports,
what the pipeline program counted, what psql printed, and PostgreSQL's own counters.
"""

import collections
import ctypes
import os
import re
import shutil
import signal
import subprocess

import pytest

import wait
from collector import Collector
from peers import PREFIX, PROGS, Losses, await_traced
from programs import Stopped, attributes, environment, run_client

MIB = 1 << 20
LARGE = 64 * MIB
KEYS = ("db.operation.name", "db.collection.name", "db.query.text", "db.response.status_code",
        "db.response.returned_rows", "db.namespace", "error.type", "wirespan.skipped",
        "wirespan.statement", "wirespan.cut")
TPC_B = [("BEGIN", None), ("UPDATE", "pgbench_accounts"), ("SELECT", "pgbench_accounts"),
         ("UPDATE", "pgbench_tellers"), ("UPDATE", "pgbench_branches"),
         ("INSERT", "pgbench_history"), ("END", None)]


class Database:
    """One database of the stack's server for each use, so that its spans are told apart by name."""

    def __init__(self, stack, name):
        self.stack, self.name = stack, name
        self.args = ["-h", "127.0.0.1", "-p", stack.env["PG_PORT"]]
        self.sql(f"CREATE DATABASE {name}", "postgres")

    def psql(self, database=None):
        return ["psql", *self.args, "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d",
                database or self.name]

    def sql(self, text, database=None, **more):
        done = subprocess.run([*self.psql(database), "-c", text], check=False, text=True,
                              capture_output=True, timeout=60, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def collector(stack, module_folder):
    args = ["--name", PREFIX + "*", "--open-ports", stack.env["PG_PORT"]]
    with Collector(module_folder, *args) as c:
        yield c


@pytest.fixture
def db(stack, collector, request):
    d = Database(stack, "wst_" + re.sub(r"\W", "_", request.node.name.removeprefix("test_")))
    d.tempo, d.losses = collector.tempo(), Losses(collector.tempo())
    yield d
    d.sql(f"DROP DATABASE {d.name} WITH (FORCE)", "postgres")


def spans(db, service="postgres", cnt=1, wanted=lambda a: True):
    """Attributes of the spans of this database, once there are cnt that are wanted."""
    rows = []

    def there():
        rows[:] = [a for a in attributes(db.tempo, service, KEYS)
                   if a.get("db.namespace") == db.name and wanted(a)]
        return len(rows) >= cnt

    try:
        wait.until(f"{cnt} spans of {service}", there, 15, 0.1)
    except wait.TimedOut:
        pass
    return rows


def counted(found):
    """How many of each kind: operation, rows, error."""
    return collections.Counter((a.get("db.operation.name"), a.get("db.response.returned_rows"),
                                a.get("error.type")) for a in found)


def what(a):
    return a.get("db.operation.name"), a.get("db.collection.name")


def gated(db, collector, service, args, text=None, env=()):
    """Runs a client of which the collector sees every statement: until it is known, the server
    accepts nobody."""
    with Stopped(int(db.stack.env["PG_PID"])):
        p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=environment(service, env))
        await_traced(collector, p.pid)
    out, err = p.communicate(text, timeout=60)
    assert p.returncode == 0, err
    return out


def test_psql(db, collector):
    """Both ends, statement for statement."""
    out = gated(db, collector, "psql", db.psql(), """
        CREATE TABLE t (n int, s text);
        INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, 500) n;
        SELECT * FROM t WHERE n <= 123;
        BEGIN; DECLARE k CURSOR FOR SELECT n FROM t; FETCH 77 FROM k; COMMIT;
        \\set ON_ERROR_STOP 0
        SELECT nothing FROM nowhere;
        SELECT count(*) FROM t;
        """)
    assert len(out.splitlines()) == 123 + 77 + 1
    truth = [("CREATE", None, None), ("INSERT", None, None), ("SELECT", 123, None),
             ("BEGIN", None, None), ("DECLARE", None, None), ("FETCH", 77, None),
             ("COMMIT", None, None), ("SELECT", None, "42P01"), ("SELECT", 1, None)]
    for service in ("postgres", PREFIX + "psql"):
        assert counted(spans(db, service, len(truth))) == collections.Counter(truth)
    assert db.losses.since() == {}


def test_long_texts(db, collector):
    """1 MiB of a literal, of which nothing is shown, and 1 MiB of names, which are cut; then a short one."""
    names = ", ".join(f"1 AS name_{n:0600}" for n in range(1600))
    gated(db, collector, "long", db.psql(), f"""
        SELECT length('{"secret" * (MIB // 6)}') AS of_a_literal;
        SELECT {names};
        SELECT 1 AS behind;
        """)
    for service in ("postgres", PREFIX + "long"):
        texts = {a["db.query.text"].strip(): a.get("wirespan.cut", False) for a in spans(db, service, 3)}
        assert [(t, cut) for t, cut in texts.items() if "behind" in t] == [("SELECT ? AS behind;", False)]
        literal, = (t for t in texts if t.startswith("SELECT length("))
        named, = (t for t in texts if "name_0" in t)
        assert texts[literal] and "secret" not in literal
        assert texts[named] and len(named) > 500 and ("SELECT " + names.replace("1 AS", "? AS")).startswith(named[:500])
    assert db.losses.since() == {}


def test_cancel(db, collector):
    """psql is interrupted, and asks by a connection of its own that its query be cancelled. That is no query."""
    with subprocess.Popen(db.psql(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=environment("cancel")) as p:
        await_traced(collector, p.pid)
        p.stdin.write("SELECT pg_sleep(600);\n")
        p.stdin.flush()
        wait.until("the query runs", lambda: db.sql("SELECT 1 FROM pg_stat_activity WHERE state = 'active'"
                                                    " AND query LIKE 'SELECT pg_sleep(600)%'", "postgres"))
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=60)
    assert "canceling statement due to user request" in out
    for service in ("postgres", PREFIX + "cancel"):
        assert counted(spans(db, service)) == {("SELECT", 0, "57014"): 1}
    assert db.losses.since() == {}


@pytest.fixture
def tls(stack, db):
    """The server answers SSLRequest with S."""
    data = os.path.join(stack.folder, "pg", "data")
    key, cert = os.path.join(data, "server.key"), os.path.join(data, "server.crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    for path in (key, cert):
        shutil.chown(path, "postgres", "postgres")
    db.sql("ALTER SYSTEM SET ssl = on")
    db.sql("SELECT pg_reload_conf()")
    wait.until("the server speaks TLS", lambda: psql_by_tls(db, "wst_not_traced").returncode == 0)
    yield
    db.sql("ALTER SYSTEM RESET ssl")
    db.sql("SELECT pg_reload_conf()")
    wait.until("it does not any more", lambda: psql_by_tls(db, "wst_not_traced").returncode != 0)
    os.remove(key)
    os.remove(cert)


def psql_by_tls(db, service):
    return subprocess.run([*db.psql(), "-c", "SELECT 1 AS in_tls"], check=False, capture_output=True, timeout=60,
                          env={**os.environ, "PGSSLMODE": "require", "OTEL_SERVICE_NAME": service})


def test_tls_is_counted(db, collector, tls):
    """Of a connection that goes on in TLS nothing is read, at either end, and each is counted once."""
    before = db.losses.since().get("tls", 0)
    text = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert gated(db, collector, "tls", db.psql(), text, {"PGSSLMODE": "require"}).strip() == "t"
    assert db.losses.since() == {"tls": before + 2}
    assert not [a for a in attributes(db.tempo, "postgres", KEYS) if "pg_stat_ssl" in a.get("db.query.text", "")]


def pgbench(db, *args):
    return ["pgbench", *db.args, "-U", "postgres", "-n", *args, db.name]


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(db, collector, mode):
    """As many executions of each of its seven statements as pgbench reports transactions, at both
    ends."""
    subprocess.run(["pgbench", *db.args, "-U", "postgres", "-q", "-i", "-I", "dtg", db.name],
                   check=True, capture_output=True, timeout=60)
    out = gated(db, collector, "pgbench-" + mode,
                pgbench(db, "-M", mode, "-c", "4", "-t", "60"))
    cnt = int(re.search(r"transactions actually processed: (\d+)/240", out)[1])
    assert cnt == 240
    for service in ("postgres", PREFIX + "pgbench-" + mode):
        found = spans(db, service, 7 * cnt, lambda a: what(a) in TPC_B and
                      a["db.query.text"] != "begin")  # that was the initialisation's
        assert collections.Counter(map(what, found)) == {w: cnt for w in TPC_B}
        assert {a.get("error.type") for a in found} == {None}
    assert db.losses.since() == {}


@pytest.fixture(scope="module")
def pipeline(module_folder):
    path = os.path.join(module_folder, "pipeline")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libpq"], check=True, text=True,
                           capture_output=True).stdout.split()
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", path,
                    os.path.join(PROGS, "pipeline.c"), *flags], check=True)
    return path


def run_pipeline(db, collector, pipeline, service, cnt, fail, sync):
    info = f"host=127.0.0.1 port={db.stack.env['PG_PORT']} user=postgres dbname={db.name}"
    out = run_client(collector, service, [pipeline, info, str(cnt), str(fail), str(sync), "v"], "x")
    return tuple(map(int, out.split()))


def of_pipeline(a):
    return "AS good" in a.get("db.query.text", "") or "AS bad" in a.get("db.query.text", "")


@pytest.mark.parametrize("cnt,fail,sync", [(64, 0, 64), (60, 23, 60), (64, 7, 10)],
                         ids=["64", "error", "syncs"])
def test_pipeline(db, collector, pipeline, cnt, fail, sync):
    """What ran, what failed and what was skipped, as libpq counts it."""
    service = f"pipeline-{cnt}-{fail}-{sync}"
    good, failed, skipped = run_pipeline(db, collector, pipeline, service, cnt, fail, sync)
    assert good + failed + skipped == cnt and failed == bool(fail)
    for end in ("postgres", PREFIX + service):
        found = spans(db, end, cnt, of_pipeline)
        assert len(found) == cnt
        assert sum(a.get("error.type") == "22012" for a in found) == failed
        assert sum(bool(a.get("wirespan.skipped")) for a in found) == skipped
        assert sum(a.get("db.response.returned_rows") == 1 for a in found) == good
    assert db.losses.since() == {}


def test_pipeline_too_deep(db, collector, pipeline):
    """300 at once: those that are kept are right, all the others are counted, and the connection
    goes on (the last statements come when the queue is empty again)."""
    cnt, service = 300, "pipeline-deep"
    assert run_pipeline(db, collector, pipeline, service, cnt, 0, 10) == (cnt, 0, 0)
    lost = db.losses.since()
    assert set(lost) == {"queue_full"}

    def kept():
        return sum(len(spans(db, end, 0, of_pipeline)) for end in ("postgres", PREFIX + service))

    wait.until("what is not counted as lost", lambda: kept() >= 2 * cnt - lost["queue_full"], 15)
    assert kept() == 2 * cnt - lost["queue_full"]
    assert kept() >= 2 * 64


def test_copy_and_large_rows(db, collector, folder):
    """64 MiB in by COPY, out by COPY, and as rows; what comes behind each is right."""
    path = os.path.join(folder, "rows")
    with open(path, "w", encoding="ascii") as f:
        for n in range(LARGE // 1024):
            f.write(f"{n:08}\t" + "r" * 1014 + "\n")
    out = os.path.join(folder, "out")
    gated(db, collector, "copy", db.psql(), f"""
        CREATE TABLE large (n int, s text);
        \\copy large FROM '{path}'
        SELECT 1 AS behind_copy_in;
        \\copy large TO '{out}'
        SELECT 2 AS behind_copy_out;
        \\o {out}2
        SELECT * FROM large;
        \\o
        SELECT 3 AS behind_rows;
        """)
    assert os.path.getsize(out) >= LARGE - MIB and os.path.getsize(out + "2") >= LARGE - MIB
    rows = LARGE // 1024
    for service in ("postgres", PREFIX + "copy"):
        assert counted(spans(db, service, 7)) == {
            ("CREATE", None, None): 1, ("COPY", None, None): 2, ("SELECT", 1, None): 3,
            ("SELECT", rows, None): 1}
    assert db.losses.since() == {}


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable"))


def test_gigabytes(db, collector):
    """One row as large as PostgreSQL makes them, and 1 GiB of smaller ones; then small ones again."""
    if memory_available() < 6 << 30:
        pytest.skip("the server and psql hold a row of 1 GB several times over: needs 6 GiB")
    gated(db, collector, "giga", db.psql(), """
        \\o /dev/null
        SELECT repeat('r', 1000000000);
        SELECT 1 AS behind_the_row;
        SELECT repeat('r', 1048576) FROM generate_series(1, 1024);
        SELECT 2 AS behind_the_rows;
        """)
    for service in ("postgres", PREFIX + "giga"):
        found = spans(db, service, 4)
        assert counted(found) == {("SELECT", 1, None): 3, ("SELECT", 1024, None): 1}
        assert sum("behind" in a["db.query.text"] for a in found) == 2
    assert db.losses.since() == {}


def test_ring_overflow_of_texts(stack, db, folder):
    """A text that was lost is counted, and known when it comes again. A failed execution has its
    place in the ring even so, and says that it does not know its text."""
    def say(text):
        p.stdin.write(text + "\n")
        p.stdin.flush()
        assert p.stdout.readline() == "1\n"

    with Collector(folder, "--open-ports", stack.env["PG_PORT"], "--ring-kib", "64") as c:
        db.tempo = c.tempo()
        losses = Losses(db.tempo)
        p = subprocess.Popen([*db.psql(), "-v", "ON_ERROR_STOP=0"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            say("SELECT 1 AS before_it;")
            with Stopped(c.pid):
                subprocess.run(pgbench(db, "-f", "/dev/stdin", "-t", "1000"), check=True,
                               text=True, capture_output=True, timeout=60,
                               input="\\set n random(1, 1000000000)\nSELECT :n AS flood;\n")
                say("SELECT 1 AS during_it;")
                say("SELECT 1 / 0 AS failed_it; SELECT 1;")
            wait.until("the ring is empty again", lambda: (
                say("SELECT 1 AS after_it;"), spans(db, cnt=0, wanted=is_text("after_it")))[1], 15)
            say("SELECT 1 AS during_it;")
            assert len(spans(db, wanted=is_text("during_it"))) == 1
        finally:
            p.communicate()
        lost = losses.since()
        lost.pop("ring_proc", None)  # other processes begin and end meanwhile
        assert set(lost) == {"ring_stmt", "ring_span"} and min(lost.values()) > 0
        found = spans(db)
        assert sum("db.query.text" not in a for a in found) <= lost["ring_stmt"]
        assert [a.get("wirespan.statement", a.get("db.query.text")) for a in found
                if a.get("error.type") == "22012"] == ["unknown"]


class Prepared:
    """A connection of libpq's that prepares statements by name, once."""

    pq = ctypes.CDLL("libpq.so.5")
    pq.PQconnectdb.restype = pq.PQprepare.restype = pq.PQexecPrepared.restype = ctypes.c_void_p
    OK, ROWS = 1, 2

    def __init__(self, db, texts):
        self.texts = texts
        self.conn = ctypes.c_void_p(self.pq.PQconnectdb(
            f"host=127.0.0.1 port={db.stack.env['PG_PORT']} user=postgres dbname={db.name}".encode()))
        for i, text in enumerate(texts):
            self.done(self.pq.PQprepare(self.conn, b"s%d" % i, text.encode(), 0, None), self.OK)

    def done(self, result, status):
        result = ctypes.c_void_p(result)
        assert self.pq.PQresultStatus(result) == status
        self.pq.PQclear(result)

    def execute(self):
        for i in range(len(self.texts)):
            self.done(self.pq.PQexecPrepared(self.conn, b"s%d" % i, 0, None, None, None, 0), self.ROWS)

    def close(self):
        self.pq.PQfinish(self.conn)


def test_prepared_while_the_ring_is_full(stack, db, folder):
    """Nobody says again what a prepared statement is, nor which database a connection uses: both are
    known when the ring has room for spans again. What there was no room for is counted."""
    flood, connections, statements = 2000, 16, 4
    with Collector(folder, "--open-ports", stack.env["PG_PORT"], "--ring-kib", "256") as c:
        db.tempo = c.tempo()
        losses = Losses(db.tempo)
        with Stopped(c.pid):
            subprocess.run(pgbench(db, "-f", "/dev/stdin", "-t", str(flood)), check=True, text=True,
                           capture_output=True, timeout=60,
                           input="\\set n random(1, 1000000000)\nSELECT :n AS flood;\n")
            pool = [Prepared(db, [f"SELECT {i} AS named_{k}_{i}" for i in range(statements)])
                    for k in range(connections)]
            for p in pool:
                p.execute()
        after = iter(range(1, 1000))
        wait.until("the ring is empty again", lambda: (
            db.sql(f"SELECT 1 AS after_{next(after)}"), spans(db, cnt=0, wanted=is_text("after_")))[1], 15)
        before = len(spans(db))
        for p in pool:
            p.execute()
        found = spans(db, cnt=before + connections * statements)
        for p in pool:
            p.close()
        lost = losses.since()
        assert len(found) + lost["ring_span"] == (
            flood + 2 * connections * statements + next(after) - 1)
        named = collections.Counter(a.get("db.query.text") for a in found if not (
            is_text("flood")(a) or is_text("after_")(a)))
        assert named == {f"SELECT ? AS named_{k}_{i}": 1 for k in range(connections)
                         for i in range(statements)}
        lost.pop("ring_proc", None)
        assert set(lost) == {"ring_span", "ring_stmt"}


def is_text(word):
    return lambda a: word in a.get("db.query.text", "")


# --- secrets ---

class Secrets:
    """Words that must be nowhere; each has its name in it, so a finding says where it was."""

    def __init__(self):
        self.planted = []

    def __getattr__(self, name):
        word = f"Zq7{name}X9w"
        if word not in self.planted:
            self.planted.append(word)
        return word

    def found_in(self, data):
        return [w for w in self.planted if w.encode() in data]


@pytest.fixture
def scram(stack, db):
    """A role that must say a password, beside the stack's that need none."""
    path = os.path.join(stack.folder, "pg", "data", "pg_hba.conf")
    shutil.copy(path, path + ".saved")
    with open(path, encoding="ascii") as f:
        old = f.read()
    with open(path, "w", encoding="ascii") as f:
        f.write("host all wst_scram 127.0.0.1/32 scram-sha-256\n" + old)
    db.sql("CREATE ROLE wst_scram LOGIN; SELECT pg_reload_conf()")
    yield "wst_scram"
    os.replace(path + ".saved", path)
    db.sql("DROP OWNED BY wst_scram; DROP ROLE wst_scram; SELECT pg_reload_conf()")


def files_of(folder):
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                yield os.path.join(at, name), f.read()


def plant_in_sql(db, collector, pipeline, scram, s):
    env = {**os.environ, "PGPASSWORD": s.scram_password}
    as_role = [*db.psql(), "-U", scram]
    db.sql(f"ALTER ROLE {scram} PASSWORD '{s.scram_password}'")
    assert "scram-sha-256" in db.sql("SHOW password_encryption")
    subprocess.run([*as_role, "-c", f"SELECT 'literal {s.literal}', E'{s.escaped}\\'', "
                    f"$tag${s.dollar}$tag$, U&'{s.unicode}' AS planted_literals"],
                   env=env, check=True, capture_output=True, timeout=30)
    wrong = subprocess.run([*as_role, "-c", "SELECT 1"], capture_output=True, text=True, timeout=30,
                           env={**env, "PGPASSWORD": s.wrong_password}, check=False)
    assert "authentication failed" in wrong.stderr
    db.sql(f"CREATE ROLE wst_other LOGIN ENCRYPTED PASSWORD '{s.create_role}'; DROP ROLE wst_other")
    subprocess.run([*db.psql(), "-c", f"SELECT '{s.in_an_error}' FROM nowhere"], check=False,
                   capture_output=True, timeout=30)
    info = f"host=127.0.0.1 port={db.stack.env['PG_PORT']} user=postgres dbname={db.name}"
    run_client(collector, "binder", [pipeline, info, "3", "0", "3", s.bind_value], "x")
    db.sql("CREATE TABLE c (t text)")
    subprocess.run([*db.psql(), "-c", "COPY c FROM STDIN"], input=s.copied_row + "\n", text=True,
                   check=True, capture_output=True, timeout=30)
    assert s.copied_row in db.sql("SELECT t AS planted_row FROM c")


def plant_in_http(stack, folder, s):
    """Into the stack's nginx, and from it into its API: with a collector of its own, since the
    module's traces neither."""
    for target, more in (
            (f"/api/todos?limit=3&token={s.query_value}", {}),
            (f"/api/todos?limit=1&{s.bare_query}", {}),
            ("/api/todos?limit=2", {"Cookie": f"session={s.cookie}"}),
            ("/api/todos?limit=2", {"Authorization": f"Bearer {s.bearer}",
                                    "Proxy-Authorization": f"Basic {s.proxy}",
                                    "X-Api-Key": s.api_key, "Referer": f"/?{s.referer}"})):
        assert stack.request("GET", target, headers=more)[0] == 200
    assert stack.request("POST", "/api/todos", {"title": s.posted_title})[0] == 201
    stack.request("GET", "/api/todos/planted-last-of-all")


def test_secrets(stack, db, collector, pipeline, scram, folder):
    s = Secrets()
    own = os.path.join(folder, "own")
    with Collector(own, "--open-ports", stack.ports, "--name", PREFIX + "*", "--log-level",
                   "debug") as c:
        plant_in_sql(db, c, pipeline, scram, s)
        plant_in_http(stack, folder, s)
        tempo = c.tempo()
        wait.until("the last request's span", lambda: tempo.search_ids(
            '{ span.url.path = "/api/todos/planted-last-of-all" }'), 15)
        ids = tempo.search_ids("{}")
        assert len(ids) > 10
        said = [tempo.get("/api/v2/traces/" + i)[1] for i in ids]
        said += [tempo.get(t)[1] for t in (
            "/status", "/metrics", "/api/search?q=%7B%7D&limit=10000&spss=100", "/api/search/tags",
            *(f"/api/v2/search/tag/{tag}/values" for tag in (
                "name", "span.db.query.text", "span.db.query.summary", "span.url.query",
                "span.url.full")))]
        for secret in s.planted:
            assert tempo.search('{ span.db.query.text =~ ".*%s.*" }' % secret) == []
    said.append(c.log().encode())
    assert len(s.planted) == 18
    seen = b"".join(said)
    assert b"planted_literals" in seen and b"planted_row" in seen and b"REDACTED" in seen
    assert s.found_in(seen) == []
    stored = list(files_of(c.store))
    assert any(b"planted_literals" in data for _, data in stored)
    assert [(path, s.found_in(data)) for path, data in stored if s.found_in(data)] == []
