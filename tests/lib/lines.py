# SPDX-License-Identifier: Apache-2.0
"""The output of the parts that pytest runs (live, k8s): a line for each test, at the end the sums."""


class Lines:
    """Instead of pytest's own reporter: a line per test, the reasons of failures, the sums."""

    def __init__(self, part):
        self.part = part
        self.cnt = {"passed": 0, "failed": 0, "skipped": 0}

    @staticmethod
    def name(nodeid):
        return nodeid.replace("test_", "").replace(".py::", ": ").replace("_", " ")

    def line(self, outcome, report):
        self.cnt[outcome] += 1
        why = f": {report.longrepr[2]}" if outcome == "skipped" else ""
        print(f"{outcome:7} {self.part} {self.name(report.nodeid)} ({report.duration:.1f} s){why}",
              flush=True)
        if outcome == "failed":
            print(report.longreprtext, flush=True)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.line(report.outcome, report)

    def pytest_collectreport(self, report):
        if report.failed:
            self.cnt["failed"] += 1
            print(f"failed  {self.part} {report.nodeid}: cannot be read", flush=True)
            print(report.longreprtext, flush=True)

    def pytest_sessionfinish(self):
        skipped = f", {self.cnt['skipped']} skipped" if self.cnt["skipped"] else ""
        print(f"{self.cnt['passed']} passed, {self.cnt['failed']} failed{skipped}", flush=True)


def register(config, part):
    """In pytest_configure, after all others."""
    config.option.tbstyle = "short"
    config.pluginmanager.unregister(config.pluginmanager.get_plugin("terminalreporter"))
    config.pluginmanager.register(Lines(part), "lines")
