# SPDX-License-Identifier: Apache-2.0
"""The programs to be traced: how each is built and started. What they do is in progs/.

All are built before the first is started, into build/context; each runs in a folder of its own, is
ended by its id, and takes where it listens and whom it calls from its environment.
"""

import contextlib
import os
import platform
import random
import shutil
import signal
import socket
import subprocess

from peers import PREFIX
from programs import Server
from stack import ROOT

HERE = os.path.dirname(os.path.realpath(__file__))
PROGS = os.path.join(HERE, "progs")
BUILD = os.path.join(ROOT, "build", "context")


def free_port():
    """Below the range that the kernel gives to outgoing connections: none takes it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def is_newer(target, *sources):
    return os.path.exists(target) and all(
        os.path.getmtime(target) > os.path.getmtime(s) for s in sources)


def compiled(target, sources, args, **more):
    """Runs a compiler when the target is older than its sources; the target."""
    if not is_newer(target, *sources):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        subprocess.run(args, check=True, **more)
    return target


def build_go(folder):
    """As scripts/stack builds its API: Debian's lib/pq, without modules."""
    target = os.path.join(BUILD, os.path.basename(folder))
    source = os.path.join(HERE, folder, "main.go")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
           "GOCACHE": os.path.join(ROOT, "build", "demo", "gocache")}
    return compiled(target, [source], ["/usr/bin/go", "build", "-o", target, source], env=env)


class Program:
    """http, sql: the steps at which a request makes such a call. Subclasses say how to start it."""

    http, sql = ("1", "3"), ("2", "4")
    end, forks, hooked, settings = signal.SIGTERM, 0, False, {}

    def __init__(self, name):
        self.name = self.service = name
        self.folder = os.path.join(PROGS, name)

    def kind(self, key):
        """Which calls are counted together: "http", "sql", "background"."""
        return "background" if key[1] == "bg" else key[0]

    def build(self):
        pass

    def args(self, folder, settings):
        raise NotImplementedError

    def started(self, collector, settings, folder):
        """To be used with `with`: it listens on PORT and is traced."""
        return Server(collector, self.service, settings["PORT"], self.args(folder, settings),
                      os.path.join(folder, self.service + "-out.log"), self.end, self.forks,
                      hooked=self.hooked, settings={**settings, **self.settings})


class Go(Program):
    hooked = True

    def build(self):
        self.binary = build_go("progs/" + self.name)

    def args(self, folder, settings):
        return [self.binary]


class Python(Program):
    """Debian's, which is the one with Debian's drivers."""

    hooked = True

    def args(self, folder, settings):
        return ["/usr/bin/python3", os.path.join(self.folder, "app.py")]


class C(Program):
    def build(self):
        source = os.path.join(self.folder, "main.c")
        self.binary = compiled(
            os.path.join(BUILD, self.name), [source, os.path.join(PROGS, "http.h")],
            ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
             "-I/usr/include/postgresql", "-o", os.path.join(BUILD, self.name), source,
             "-lpq", "-lpthread"])

    def args(self, folder, settings):
        return [self.binary]


def filled_in(source, target, words):
    """A copy of a file with other words between its @ signs; its path."""
    with open(source, encoding="ascii") as f:
        text = f.read()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    with open(target, "w", encoding="ascii") as f:
        f.write(text)
    return target


class Titled(Program):
    """One that writes its title over its environment: its executable has to have its name."""

    program = conf = None

    def renamed(self, folder):
        return shutil.copy(self.program, os.path.join(folder, PREFIX + self.service))

    def configured(self, folder, settings):
        return filled_in(os.path.join(self.folder, self.conf), os.path.join(folder, self.conf),
                         {"DIR": folder, **settings})


class Nginx(Titled):
    program, conf = "/usr/sbin/nginx", "nginx.conf"
    end, forks = signal.SIGQUIT, 2

    def args(self, folder, settings):
        return [self.renamed(folder), "-p", folder, "-c", self.configured(folder, settings),
                "-e", os.path.join(folder, "nginx.log")]


class Proxy(Nginx):
    """limit: a directive that makes each tenth request wait."""

    http, sql = ("auth", "mirror", "1"), ()

    def __init__(self, name, limit=""):
        super().__init__(name)
        self.folder, self.limit = os.path.join(PROGS, "nginx"), limit

    def configured(self, folder, settings):
        return super().configured(folder, {**settings, "LIMIT": self.limit})


class Workers(Titled):
    """php-fpm's master and workers; they listen on FPM_PORT."""

    program, conf = "/usr/sbin/php-fpm8.2", "php-fpm.conf"
    end, forks = signal.SIGTERM, 8

    def args(self, folder, settings):
        return [self.renamed(folder), "--nodaemonize", "--fpm-config",
                self.configured(folder, settings)]


class PhpFpm(Program):
    """Two services: the SERVER spans are nginx's, the calls php-fpm's."""

    def __init__(self, name):
        super().__init__(name)
        self.workers, self.nginx = Workers(name), Nginx(name)
        self.nginx.service += "-nginx"

    @contextlib.contextmanager
    def started(self, collector, settings, folder):
        shutil.copy(os.path.join(self.folder, "app.php"), folder)
        fpm_port = free_port()
        settings = {**settings, "FPM_PORT": fpm_port}
        with self.workers.started(collector, {**settings, "PORT": fpm_port}, folder), \
                self.nginx.started(collector, settings, folder):
            yield


class Java(Program):
    """Of Debian, whatever other Java the machine has."""

    home = "/usr/lib/jvm/java-17-openjdk-" + platform.machine().replace(
        "x86_64", "amd64").replace("aarch64", "arm64")
    driver = "/usr/share/java/postgresql.jar"

    def __init__(self, name, at_once):
        super().__init__(name)
        self.folder, self.settings = os.path.join(PROGS, "java"), {"AT_ONCE": at_once}

    def build(self):
        folder, source = os.path.join(BUILD, "java"), os.path.join(self.folder, "App.java")
        compiled(os.path.join(folder, "App.class"), [source],
                 [self.home + "/bin/javac", "-d", folder, source])
        self.classes = folder

    def args(self, folder, settings):
        return [self.home + "/bin/java", "-XX:-UsePerfData",
                "-Dsun.net.httpserver.nodelay=true", "-cp",
                f"{self.classes}:{self.driver}", "App"]


class Puma(Program):
    def args(self, folder, settings):
        return ["/usr/bin/puma", "--config", os.path.join(self.folder, "puma.rb"),
                os.path.join(self.folder, "config.ru")]


class Node(Program):
    """With the packages that its lock file pins; nothing of them is kept here. It is asked to tell whose
    its calls are (context.node), and noted as hooked when it does."""

    hooked = True

    def build(self):
        folder = os.path.join(BUILD, self.name)
        os.makedirs(folder, exist_ok=True)
        *pins, self.script = (shutil.copy2(os.path.join(self.folder, f), folder)
                              for f in ("package.json", "package-lock.json", "app.js"))
        # npm's own note of what it has installed, written last
        compiled(os.path.join(folder, "node_modules", ".package-lock.json"), pins,
                 ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund",
                  "--cache", os.path.join(folder, "npm-cache")], cwd=folder,
                 stdout=subprocess.DEVNULL)

    def args(self, folder, settings):
        return ["node", self.script]


PROGRAMS = {p.name: p for p in (
    Go("go"), Python("python_threads"), Python("asyncio"), Node("node"),
    Proxy("nginx"), Proxy("nginx_limited", "limit_req zone=slow burst=1000;"), C("c_epoll"), Java("java", "async"), Java("java_tasks", "tasks"), C("c_queue"),
    Puma("puma"), PhpFpm("php_fpm"))}
