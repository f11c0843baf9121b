"""Whatever arrives: it costs time and memory in proportion to its size, and no exception."""

import tracemalloc
from collections.abc import Callable

import pytest

from aks_audit.audit.annotate import annotate
from aks_audit.audit.unpack import unpack
from tests.hostile import HOSTILE

SMALL, LARGE = 50_000, 4_000_000
HANG_S = 60
"""The large bodies take less than a second where time grows with their size, and minutes or hours
where it grows with its square."""
MEMORY_MAX = 150
"""Bytes of memory at most for a byte of input: each record that is skipped has a note."""

bodies = pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())


def take(body: bytes) -> None:
    events, skipped = unpack(body, received="2026-03-01T10:00:00Z")
    assert events or skipped
    for event in events:
        annotate(event.raw, "prod")


@bodies
@pytest.mark.timeout(HANG_S)
def test_no_body_makes_it_hang(body: Callable[[int], bytes]) -> None:
    """Four times as large as the largest message of Event Hubs."""
    take(body(LARGE))


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
