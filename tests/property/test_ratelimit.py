import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from aks_audit.delivery.ratelimit import RateLimiter
from tests.helpers import examples


@examples(150)
@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    callers=st.lists(
        st.lists(st.tuples(st.floats(0, 5), st.integers(1, 60)), max_size=8), min_size=1, max_size=4
    ),
)
async def test_no_window_holds_more_than_rate_and_burst(
    rate: float, burst: int, callers: list[list[tuple[float, int]]], autojump_clock: MockClock
) -> None:
    """Any number of callers, any pauses: n events within w seconds are at most burst + rate * w."""
    passed: list[tuple[float, int]] = []

    limiter = RateLimiter(rate, burst)

    async def call(wishes: list[tuple[float, int]]) -> None:
        for pause, events in wishes:
            # The pool never asks for more than a burst at once.
            await trio.sleep(pause)
            await limiter.acquire(min(events, burst))
            passed.append((trio.current_time(), min(events, burst)))

    async with trio.open_nursery() as nursery:
        for wishes in callers:
            nursery.start_soon(call, wishes)
    assert len(passed) == sum(map(len, callers))
    for begin in range(len(passed)):
        events = 0
        for at, count in passed[begin:]:
            events += count
            assert events <= burst + rate * (at - passed[begin][0]) + 1e-3


@examples(50)
@given(rate=st.floats(0.1, 1000), burst=st.integers(1, 50), batches=st.integers(1, 30))
async def test_the_rate_is_used_to_the_full(
    rate: float, burst: int, batches: int, autojump_clock: MockClock
) -> None:
    limiter = RateLimiter(rate, burst)
    start = trio.current_time()
    for _ in range(batches):
        await limiter.acquire(burst)
    expected = (batches - 1) * burst / rate
    assert abs(trio.current_time() - start - expected) < 1e-6 * max(1, expected)
