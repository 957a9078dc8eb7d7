# SPDX-License-Identifier: Apache-2.0
"""What the tests of Kubernetes share: one node, one API server, pods that are removed after a test.

Every test has a collector of its own, since what it selects differs.
"""

import contextlib
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))

from cluster import Api, Node  # noqa: E402
import lines  # noqa: E402


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    lines.register(config, "k8s")


@pytest.fixture(scope="session")
def root_folder():
    folder = tempfile.mkdtemp(prefix="wirespan-k8s-")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(root_folder, request):
    path = tempfile.mkdtemp(prefix=request.node.name[:30] + "-", dir=root_folder)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def node(root_folder):
    with Node(root_folder) as n:
        yield n


@pytest.fixture(scope="session")
def api(root_folder):
    with Api(root_folder) as a:
        a.namespace("app")
        yield a


@pytest.fixture
def make(node):
    """make(...): a pod that runs, until the end of the test."""
    with contextlib.ExitStack() as stack:
        def make_pod(*args, **more):
            pod = node.pod(*args, **more)
            stack.callback(pod.remove)
            return pod.run()

        yield make_pod
