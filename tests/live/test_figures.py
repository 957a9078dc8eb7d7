# SPDX-License-Identifier: Apache-2.0
"""The figures that are promised and can be checked in seconds; tests/bench prints all of them."""

from collector import BINARY, Collector
from measure import MIB, first_span, stripped_size


def test_memory_at_rest(stack, folder):
    with Collector(folder, "--open-ports", stack.ports) as c:
        assert c.rss_at_rest() <= 15 * MIB


def test_start_to_first_span(stack, folder):
    """Until a search finds it, which is later than when it began."""
    c = Collector(folder, "--open-ports", stack.ports)
    try:
        began, _, found = first_span(stack, c)
        assert began <= 1.0
        assert found <= 1.0
    finally:
        c.stop()


def test_binary_size():
    assert stripped_size(BINARY) <= 3 * MIB
