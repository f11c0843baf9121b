"""Whatever arrives: it costs time and memory in proportion to its size, and no exception."""

import time
import tracemalloc
from collections.abc import Callable

import pytest

from aks_audit.audit.annotate import annotate
from aks_audit.audit.unpack import unpack
from tests.hostile import HOSTILE

SMALL, LARGE = 50_000, 200_000
GROWTH_MAX = 10.0
"""Four times the input may take ten times the time: four is linear, sixteen quadratic."""
LITTLE_S = 0.02
"""Below which a measured time says nothing."""
MEMORY_MAX = 150
"""Bytes of memory at most for a byte of input: each record that is skipped has a note."""

bodies = pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())


def take(body: bytes) -> None:
    events, skipped = unpack(body, received="2026-03-01T10:00:00Z")
    assert events or skipped
    for event in events:
        annotate(event.raw, "prod")


def seconds(body: bytes) -> float:
    """The CPU time of the fastest of some runs: what else the machine does adds to others."""
    best = float("inf")
    for _ in range(3):
        before = time.process_time()
        take(body)
        best = min(best, time.process_time() - before)
        if best < LITTLE_S:
            break
    return best


@bodies
def test_time_grows_with_the_input(body: Callable[[int], bytes]) -> None:
    large = seconds(body(LARGE))
    if large > LITTLE_S:
        assert large < GROWTH_MAX * max(seconds(body(SMALL)), LITTLE_S / 4)


@bodies
def test_memory_grows_with_the_input(body: Callable[[int], bytes]) -> None:
    given = body(SMALL)
    tracemalloc.start()
    try:
        take(given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX * len(given)
