# SPDX-License-Identifier: Apache-2.0
"""A pair of programs for a test, and the collector of the module that traces them and nothing else.

Modules that work with pairs import these three fixtures.
"""

import pytest

from collector import Collector
from peers import PREFIX, Pair


@pytest.fixture(scope="module")
def collector(module_folder):
    with Collector(module_folder, "--name", PREFIX + "*") as c:
        yield c


@pytest.fixture
def name(request):
    return request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")


@pytest.fixture
def pair(collector, name):
    p = Pair(collector, name)
    yield p
    p.close()
