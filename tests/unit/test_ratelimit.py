import pytest
import trio

from aks_audit.delivery.ratelimit import RateLimiter, Unlimited
from tests.helpers import in_virtual_time


def times(limiter: RateLimiter | Unlimited, *events: int) -> list[float]:
    """When each of these may go, asked for one after the other."""
    found: list[float] = []

    async def main() -> None:
        start = trio.current_time()
        for count in events:
            await limiter.acquire(count)
            found.append(round(trio.current_time() - start, 6))

    in_virtual_time(main)
    return found


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    assert times(RateLimiter(10, 3), *[1] * 6) == [0, 0, 0, 0.1, 0.2, 0.3]


def test_without_a_burst_every_event_keeps_its_distance() -> None:
    assert times(RateLimiter(2, 1), *[1] * 4) == [0, 0.5, 1, 1.5]


def test_a_batch_counts_as_its_events() -> None:
    assert times(RateLimiter(10, 5), 5, 5, 1) == [0, 0.5, 0.6]


def test_more_than_a_burst_waits_for_its_own_length() -> None:
    assert times(RateLimiter(10, 5), 25) == [2]


@pytest.mark.parametrize(
    ("pause", "after"),
    [
        (0.1, [0, 0.1, 0.2, 0.3]),
        (0.2, [0, 0, 0.1, 0.2]),
        (0.3, [0, 0, 0, 0.1]),
        (99, [0, 0, 0, 0.1]),
    ],
)
def test_a_pause_restores_the_burst_but_no_more(pause: float, after: list[float]) -> None:
    limiter = RateLimiter(10, 3)

    async def main() -> None:
        await limiter.acquire(3)
        await trio.sleep(pause)
        start = trio.current_time()
        for seconds in after:
            await limiter.acquire(1)
            assert trio.current_time() - start == pytest.approx(seconds)

    in_virtual_time(main)


def test_callers_are_served_in_the_order_in_which_they_ask() -> None:
    async def main() -> None:
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

    in_virtual_time(main)


def test_unlimited_never_waits() -> None:
    assert times(Unlimited(), 1, 1_000_000, 1) == [0, 0, 0]
