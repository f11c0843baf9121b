import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.delivery.channel import PACE_S, Channel
from aks_audit.delivery.inflight import InFlight
from aks_audit.model import Item, Outcome
from aks_audit.ops.metrics import Metrics
from tests.helpers import make_items, sized_item, waiting

Taken = tuple[float, list[int]]
"""When a batch was taken, and its sizes."""


def sized(*sizes: int) -> list[Item]:
    return [sized_item(size) for size in sizes]


def sizes(items: list[Item]) -> list[int]:
    return [len(item.event.raw) for item in items]


def make_channel(
    max_events: int = 1000, max_bytes: int = 10**9, *, in_flight_bytes: int = 10**9
) -> tuple[Channel, InFlight]:
    in_flight = InFlight(in_flight_bytes, Metrics().outcomes)
    return Channel(in_flight, max_events=max_events, max_bytes=max_bytes), in_flight


async def take_into(found: list[Taken], channel: Channel) -> None:
    taken = sizes(await channel.take())
    found.append((trio.current_time(), taken))


async def test_a_sender_gets_what_is_waiting_in_order(autojump_clock: MockClock) -> None:
    channel, in_flight = make_channel()
    items, _ = make_items(5)
    channel.put(items[:2])
    channel.put(items[2:])
    assert waiting(channel) == items
    assert await channel.take() == items
    assert waiting(channel) == []
    assert in_flight.events == 5


async def test_a_batch_is_bounded_by_events(autojump_clock: MockClock) -> None:
    channel, _ = make_channel(max_events=2)
    channel.put(make_items(5)[0])
    assert [len(await channel.take()) for _ in range(3)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("put", "max_bytes", "batches"),
    [
        ([10, 10, 10], 32, [[10, 10, 10]]),  # with two commas
        ([10, 10, 10], 31, [[10, 10], [10]]),
        ([10, 10, 10], 10, [[10], [10], [10]]),
        ([10, 10, 10], 1, [[10], [10], [10]]),
        ([50, 10, 10], 21, [[50], [10, 10]]),
        ([10, 50, 10], 21, [[10], [50], [10]]),
        ([10, 10, 50], 21, [[10, 10], [50]]),
    ],
)
async def test_a_batch_is_bounded_by_bytes(
    put: list[int], max_bytes: int, batches: list[list[int]], autojump_clock: MockClock
) -> None:
    channel, _ = make_channel(100, max_bytes)
    channel.put(sized(*put))
    assert [sizes(await channel.take()) for _ in batches] == batches
    assert waiting(channel) == []


async def test_a_sender_waits_for_the_first_event_and_for_no_more(
    autojump_clock: MockClock,
) -> None:
    channel, _ = make_channel()
    found: list[Taken] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_into, found, channel)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        await trio.sleep(1)
        channel.put(sized(1))
    assert found == [(1, [1])]


async def test_what_is_left_over_goes_to_the_next_sender(autojump_clock: MockClock) -> None:
    channel, _ = make_channel(max_events=2)
    found: list[Taken] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take_into, found, channel)
        await trio.testing.wait_all_tasks_blocked()
        channel.put(sized(1, 1, 1, 1, 1))
    assert [taken for _, taken in found] == [[1, 1], [1, 1], [1]]


async def test_senders_are_served_in_the_order_in_which_they_came(
    autojump_clock: MockClock,
) -> None:
    channel, _ = make_channel(max_events=1)
    order: list[int] = []

    async def take(number: int) -> None:
        await channel.take()
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(take, number)
            await trio.testing.wait_all_tasks_blocked()
        channel.put(sized(1, 1, 1, 1))
    assert order == [0, 1, 2, 3]


async def test_a_sender_that_gives_up_takes_nothing_along(autojump_clock: MockClock) -> None:
    channel, _ = make_channel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.take)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    channel.put(sized(1))
    assert sizes(await channel.take()) == [1]


# ---- the pace of batches that are not full -----------------------------------------------------


async def test_after_a_rest_nothing_waits(autojump_clock: MockClock) -> None:
    channel, _ = make_channel()
    for _ in range(3):
        await trio.sleep(PACE_S)
        now = trio.current_time()
        found: list[Taken] = []
        channel.put(sized(1))
        await take_into(found, channel)
        assert found == [(now, [1])]


async def test_a_steady_stream_is_taken_at_a_steady_pace(autojump_clock: MockClock) -> None:
    channel, _ = make_channel()
    found: list[Taken] = []

    async def take_all() -> None:
        while True:
            await take_into(found, channel)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take_all)
        channel.put(sized(1))
        for pause in [0.1] + 10 * [0.2]:
            await trio.sleep(pause * PACE_S)
            channel.put(sized(1))
        await trio.sleep(PACE_S)
        nursery.cancel_scope.cancel()
    paces = [round(at / PACE_S, 6) for at, _ in found]
    assert paces == [0, 1, 2, 3]
    assert [len(taken) for _, taken in found] == [1, 5, 5, 1]


@pytest.mark.parametrize(
    ("put", "taken"),
    [([1] * 11, [1] * 10), ([60, 60], [60])],
    ids=["events", "bytes"],
)
async def test_a_full_batch_keeps_no_pace(
    put: list[int], taken: list[int], autojump_clock: MockClock
) -> None:
    channel, _ = make_channel(10, 100)
    channel.put(sized(1))
    await channel.take()
    channel.put(sized(put[0]))
    found: list[Taken] = []
    half = PACE_S / 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_into, found, channel)
        nursery.start_soon(take_into, found, channel)
        await trio.sleep(half)
        assert found == []
        channel.put(sized(*put[1:]))
        await trio.testing.wait_all_tasks_blocked()
        assert found == [(half, taken)]
    assert found[1][0] == pytest.approx(half + PACE_S)
    assert found[1][1] == put[len(taken) :]


async def test_where_nothing_more_fits_in_no_pace_is_kept(autojump_clock: MockClock) -> None:
    channel, in_flight = make_channel(10, 100, in_flight_bytes=50)
    channel.put(sized(10))
    in_flight.settle(await channel.take(), Outcome.DELIVERED)
    channel.put(sized(60))
    found: list[Taken] = []
    await take_into(found, channel)
    assert found == [(0, [60])]


async def test_who_gives_up_waiting_for_a_full_batch_leaves_it_to_the_next(
    autojump_clock: MockClock,
) -> None:
    channel, _ = make_channel()
    channel.put(sized(1))
    await channel.take()
    channel.put(sized(2))
    found: list[Taken] = []
    scope = trio.CancelScope()

    async def give_up() -> None:
        with scope:
            await channel.take()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take_into, found, channel)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert found == [(PACE_S, [2])]
