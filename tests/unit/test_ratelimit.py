import pytest
import trio
from trio.testing import MockClock

from aks_audit.delivery.ratelimit import RateLimiter, Unlimited


async def times(limiter: RateLimiter | Unlimited, *events: int) -> list[float]:
    """When each of these may go, asked for one after the other."""
    found: list[float] = []

    start = trio.current_time()
    for count in events:
        await limiter.acquire(count)
        found.append(round(trio.current_time() - start, 6))
    return found


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate(autojump_clock: MockClock) -> None:
    assert await times(RateLimiter(10, 3), *[1] * 6) == [0, 0, 0, 0.1, 0.2, 0.3]


async def test_without_a_burst_every_event_keeps_its_distance(autojump_clock: MockClock) -> None:
    assert await times(RateLimiter(2, 1), *[1] * 4) == [0, 0.5, 1, 1.5]


async def test_a_batch_counts_as_its_events(autojump_clock: MockClock) -> None:
    assert await times(RateLimiter(10, 5), 5, 5, 1) == [0, 0.5, 0.6]


async def test_more_than_a_burst_waits_for_its_own_length(autojump_clock: MockClock) -> None:
    assert await times(RateLimiter(10, 5), 25) == [2]


@pytest.mark.parametrize(
    ("pause", "after"),
    [
        (0.1, [0, 0.1, 0.2, 0.3]),
        (0.2, [0, 0, 0.1, 0.2]),
        (0.3, [0, 0, 0, 0.1]),
        (99, [0, 0, 0, 0.1]),
    ],
)
async def test_a_pause_restores_the_burst_but_no_more(
    pause: float, after: list[float], autojump_clock: MockClock
) -> None:
    limiter = RateLimiter(10, 3)

    await limiter.acquire(3)
    await trio.sleep(pause)
    start = trio.current_time()
    for seconds in after:
        await limiter.acquire(1)
        assert trio.current_time() - start == pytest.approx(seconds)


async def test_callers_are_served_in_the_order_in_which_they_ask(autojump_clock: MockClock) -> None:
    limiter = RateLimiter(1, 1)
    served: list[int] = []

    async def ask(number: int) -> None:
        await limiter.acquire(1)
        served.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
    assert served == [0, 1, 2, 3, 4]


async def test_unlimited_never_waits(autojump_clock: MockClock) -> None:
    assert await times(Unlimited(), 1, 1_000_000, 1) == [0, 0, 0]
