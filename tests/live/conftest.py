# SPDX-License-Identifier: Apache-2.0
"""What the live tests share: the output (one line a test), one stack for all, collectors.

A collector is fresh (own store) for each module unless a test starts its own. All of them trace the
stack's three ports only, so that whatever else runs on the machine cannot change a result.
"""

import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

from collector import Collector  # noqa: E402
from stack import Stack  # noqa: E402


class Lines:
    """Instead of pytest's own reporter: a line per test, the reasons of failures, the sums."""

    def __init__(self):
        self.cnt = {"passed": 0, "failed": 0, "skipped": 0}

    @staticmethod
    def name(nodeid):
        return nodeid.replace("test_", "").replace(".py::", ": ").replace("_", " ")

    def line(self, outcome, report):
        self.cnt[outcome] += 1
        why = f": {report.longrepr[2]}" if outcome == "skipped" else ""
        print(f"{outcome:7} live {self.name(report.nodeid)} ({report.duration:.1f} s){why}",
              flush=True)
        if outcome == "failed":
            print(report.longreprtext, flush=True)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.line(report.outcome, report)

    def pytest_collectreport(self, report):
        if report.failed:
            self.cnt["failed"] += 1
            print(f"failed  live {report.nodeid}: cannot be read", flush=True)
            print(report.longreprtext, flush=True)

    def pytest_sessionfinish(self):
        skipped = f", {self.cnt['skipped']} skipped" if self.cnt["skipped"] else ""
        print(f"{self.cnt['passed']} passed, {self.cnt['failed']} failed{skipped}", flush=True)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.option.tbstyle = "short"
    config.pluginmanager.unregister(config.pluginmanager.get_plugin("terminalreporter"))
    config.pluginmanager.register(Lines(), "lines")


@pytest.fixture(scope="session")
def root_folder():
    folder = tempfile.mkdtemp(prefix="wirespan-live-")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stack(root_folder):
    with Stack(os.path.join(root_folder, "stack")) as s:
        yield s


@pytest.fixture(scope="module")
def module_folder(root_folder, request):
    folder = os.path.join(root_folder, request.module.__name__)
    os.makedirs(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(root_folder, request):
    path = tempfile.mkdtemp(prefix=request.node.name[:30] + "-", dir=root_folder)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def collector(stack, module_folder):
    args = ["--open-ports", stack.ports, "--redact-query", "off"]
    with Collector(module_folder, *args) as c:
        yield c


@pytest.fixture
def tempo(collector):
    return collector.tempo()
