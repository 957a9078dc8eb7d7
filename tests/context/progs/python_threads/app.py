# SPDX-License-Identifier: Apache-2.0
"""Python threads: ThreadingHTTPServer, http.client, psycopg2; what happens at once are threads."""

import contextlib
import http.client
import http.server
import itertools
import os
import queue
import threading
import time

import psycopg2

POOL_SIZE = 8


class Pool(queue.LifoQueue):
    def __init__(self, connect):
        super().__init__()
        for _ in range(POOL_SIZE):
            self.put(connect())

    @contextlib.contextmanager
    def connection(self):
        conn = self.get()
        try:
            yield conn
        finally:
            self.put(conn)


def connect_sql():
    conn = psycopg2.connect("")
    conn.autocommit = True
    return conn


https = Pool(lambda: http.client.HTTPConnection(os.environ["BACKEND"]))
sqls = Pool(connect_sql)


def fetch(name):
    with https.connection() as conn:
        conn.request("GET", "/b/" + name)
        conn.getresponse().read()


def query(alias):
    with sqls.connection() as conn, conn.cursor() as cursor:
        cursor.execute(f"SELECT pg_sleep(0.002) AS {alias}")


def at_once(*calls):
    threads = [threading.Thread(target=f, args=[arg]) for f, arg in calls]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def work(name):
    pause = (1 + ord(name[-1]) % 4) / 1000
    time.sleep(pause)
    fetch(name + "-1")
    query(f"r_{name}_2")
    time.sleep(pause)
    at_once((fetch, name + "-3"), (query, f"r_{name}_4"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        work(self.path.removeprefix("/r/"))
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"done\n")

    def log_request(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


def background():
    for n in itertools.count():
        time.sleep(0.02)
        fetch(f"bg-{n}")
        query(f"bg_{n}")


threading.Thread(target=background, daemon=True).start()
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
