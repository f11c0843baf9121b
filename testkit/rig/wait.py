"""Waiting for what cannot notify a test: another process, a page, a store."""

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE_S = 180.0
"""Reached only by a test that fails, or on a machine that is stopped half of the time."""
_POLL_S = 0.02

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T], what: str = "the condition", timeout_s: float = DEADLINE_S
) -> T:
    """Poll until the predicate's value is true, and return it; else AssertionError."""
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {timeout_s:g} s: {value!r}")
        time.sleep(_POLL_S)
    return value
