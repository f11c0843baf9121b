"""Async tests run on trio, each with a deadline that ends a hang.

This is not pytest-trio: its latest release (0.8, of 2022) wraps every failure in exception groups,
refuses a clock to the examples of Hypothesis, and lets a test that hangs on `autojump_clock` spin.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

DEADLINE_S = 30.0
"""In real time. Only a test that fails reaches it."""

FAST = 50.0
"""Virtual seconds per real second of `fast_clock`."""

CLOCKS: dict[str, tuple[Callable[[], MockClock], float]] = {
    # A deadlock jumps to this deadline.
    "autojump_clock": (lambda: MockClock(autojump_threshold=0), 1e6),
    "fast_clock": (lambda: MockClock(rate=FAST), FAST * DEADLINE_S),
}
"""How each clock is made, and the deadline of tests that run on it, in its seconds."""


# A clock serves one run, and Hypothesis runs a test once for each example. So the fixtures only ask
# for a clock, and `on_trio` puts a new one in their place.
@pytest.fixture(scope="session")
def autojump_clock() -> None:
    """A clock that jumps to the next deadline whenever all tasks wait."""


@pytest.fixture(scope="session")
def fast_clock() -> None:
    """A clock that runs fast, but does not jump: for tests that wait for threads."""


def pytest_itemcollected(item: pytest.Item) -> None:
    if not isinstance(item, pytest.Function):
        return
    hypothesis = getattr(item.obj, "hypothesis", None)
    if inspect.iscoroutinefunction(item.obj):
        item.obj = on_trio(item.obj)
    elif hypothesis and inspect.iscoroutinefunction(hypothesis.inner_test):
        hypothesis.inner_test = on_trio(hypothesis.inner_test)


def on_trio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        clock, deadline_s = None, DEADLINE_S
        for name in CLOCKS.keys() & kwargs.keys():
            new_clock, deadline_s = CLOCKS[name]
            kwargs[name] = clock = new_clock()

        async def main() -> None:
            with trio.fail_after(deadline_s):
                await test(*args, **kwargs)

        trio.run(main, clock=clock)

    return run
