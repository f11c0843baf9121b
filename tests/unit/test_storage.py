"""Calls to a store that does not answer, in virtual time."""

import threading

import pytest
import trio
from trio.testing import MockClock

from aks_audit.errors import Retryable
from aks_audit.storage import call

PLACES = 2


async def test_calls_that_hang_are_given_up_and_keep_their_places(fast_clock: MockClock) -> None:
    limiter = trio.CapacityLimiter(PLACES)
    go_on = threading.Event()
    ended: list[int] = []

    def hang(number: int) -> None:
        go_on.wait(60)
        ended.append(number)

    async def given_up(number: int) -> None:
        with pytest.raises(Retryable, match="no answer in 3 s"):
            await call(limiter, hang, number, within_s=3)

    async with trio.open_nursery() as nursery:
        for number in range(3 * PLACES):
            nursery.start_soon(given_up, number)
    assert limiter.borrowed_tokens == PLACES, "no more threads hang than there are places"
    go_on.set()
    assert await call(limiter, lambda: "an answer") == "an answer"
    assert len(ended) <= PLACES, "what waited for a place is not done later"


async def test_a_call_ends_with_whoever_made_it() -> None:
    limiter, go_on = trio.CapacityLimiter(1), threading.Event()
    with trio.move_on_after(0.01):
        await call(limiter, go_on.wait, 60)
    assert limiter.borrowed_tokens == 1
    go_on.set()
