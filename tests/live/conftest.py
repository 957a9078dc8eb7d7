# SPDX-License-Identifier: Apache-2.0
"""What the live tests share: one stack for all, collectors.

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
import lines  # noqa: E402
from stack import Stack  # noqa: E402


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    lines.register(config, "live")


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
