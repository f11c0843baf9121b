from contextlib import suppress

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.delivery.channel import Channel, EndOfChannel
from aks_audit.model import Item
from tests.helpers import make_items, sized_item

ALL = (1000, 10**9)
Taken = tuple[float, list[int]]
"""When a batch was taken, and its sizes."""


def sized(*sizes: int) -> list[Item]:
    return [sized_item(size) for size in sizes]


def sizes(items: list[Item]) -> list[int]:
    return [len(item.event.raw) for item in items]


async def test_a_taker_gets_what_is_waiting_in_order(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    items, _ = make_items(5)
    await channel.send(items[:2])
    await channel.send(items[2:])
    assert channel.waiting == 5
    assert await channel.take(*ALL) == items
    assert channel.waiting == 0


async def test_a_batch_is_bounded_by_events(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    items, _ = make_items(5)
    await channel.send(items)
    assert [len(await channel.take(2, 10**6)) for _ in range(3)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("waiting", "max_bytes", "batches"),
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
    waiting: list[int], max_bytes: int, batches: list[list[int]], autojump_clock: MockClock
) -> None:
    channel = Channel(10**6)
    await channel.send(sized(*waiting))
    assert [sizes(await channel.take(100, max_bytes)) for _ in batches] == batches
    assert channel.waiting == 0


async def test_a_taker_waits_for_the_first_item_and_for_no_more(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    batches: list[list[Item]] = []

    async def take() -> None:
        batches.append(await channel.take(*ALL))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert batches == []
        (item,) = sized(1)
        await channel.send([item])
        await trio.testing.wait_all_tasks_blocked()
        assert batches == [[item]]


async def test_what_is_left_over_wakes_the_next_taker(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    taken: list[int] = []

    async def take() -> None:
        taken.append(len(await channel.take(2, 10**6)))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        await channel.send(sized(1, 1, 1, 1, 1))
    assert sorted(taken) == [1, 2, 2]


async def test_room_is_counted_until_settled(autojump_clock: MockClock) -> None:
    channel = Channel(100)
    items = sized(10, 20, 30)
    await channel.send(items)
    assert (channel.events_in_flight, channel.bytes_in_flight) == (3, 60)
    await channel.take(*ALL)
    assert (channel.events_in_flight, channel.bytes_in_flight) == (3, 60)
    channel.settle(items[:1])
    assert (channel.events_in_flight, channel.bytes_in_flight) == (2, 50)
    channel.settle(items[1:])
    assert (channel.events_in_flight, channel.bytes_in_flight) == (0, 0)


@pytest.mark.parametrize("channel_bounds", [(10, 1000), (10**6, 1)])
async def test_a_full_channel_makes_sending_wait(
    channel_bounds: tuple[int, int], autojump_clock: MockClock
) -> None:
    channel = Channel(*channel_bounds)
    await channel.send(sized(10))
    assert channel.full
    sent = trio.Event()

    async def send() -> None:
        await channel.send(sized(10))
        sent.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        items = await channel.take(*ALL)  # taking alone makes no room
        await trio.testing.wait_all_tasks_blocked()
        assert not sent.is_set()
        channel.settle(items)
        await sent.wait()
    assert channel.events_in_flight == 1


async def test_a_hub_event_larger_than_the_bound_passes_whole_and_by_itself(
    autojump_clock: MockClock,
) -> None:
    channel = Channel(100, max_events=3)
    log: list[str] = []

    async def send(name: str, items: list[Item]) -> None:
        await channel.send(items)
        log.append(name)

    async with trio.open_nursery() as nursery:
        await send("large", sized(*[90] * 8))
        nursery.start_soon(send, "small", sized(1))
        await trio.testing.wait_all_tasks_blocked()
        items = await channel.take(*ALL)
        assert len(items) == 8
        for item in items:
            assert log == ["large"]
            channel.settle([item])
            await trio.testing.wait_all_tasks_blocked()
            if channel.full:
                assert log == ["large"]
            else:
                break
        assert log == ["large", "small"]


async def test_senders_that_wait_do_not_pass_the_bound_together(autojump_clock: MockClock) -> None:
    channel = Channel(10)
    await channel.send(sized(10))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(channel.send, sized(10))
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            assert channel.bytes_in_flight == 10
            channel.settle(await channel.take(*ALL))
        await trio.testing.wait_all_tasks_blocked()
    assert channel.bytes_in_flight == 10


async def test_nothing_to_send_needs_no_room(autojump_clock: MockClock) -> None:
    channel = Channel(1)
    await channel.send(sized(1))
    await channel.send([])
    assert channel.events_in_flight == 1


async def test_drained_waits_until_the_last_item_is_settled(autojump_clock: MockClock) -> None:
    channel = Channel(100)
    await channel.drained()
    await channel.send(sized(1, 2))
    drained = trio.Event()

    async def wait() -> None:
        await channel.drained()
        drained.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        items = await channel.take(*ALL)
        channel.settle(items[:1])
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        channel.settle(items[1:])
    assert drained.is_set()


async def test_a_closed_channel_ends_when_it_is_empty(autojump_clock: MockClock) -> None:
    channel = Channel(100)
    await channel.send(sized(1, 2))
    channel.close()
    assert sizes(await channel.take(1, 100)) == [1]
    assert sizes(await channel.take(1, 100)) == [2]
    for _ in range(2):
        with pytest.raises(EndOfChannel):
            await channel.take(1, 100)


async def test_closing_wakes_every_taker(autojump_clock: MockClock) -> None:
    channel = Channel(100)
    ended: list[int] = []

    async def take(number: int) -> None:
        with pytest.raises(EndOfChannel):
            await channel.take(*ALL)
        ended.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(take, number)
        await trio.testing.wait_all_tasks_blocked()
        channel.close()
    assert sorted(ended) == [0, 1, 2, 3]


async def test_a_taker_that_gives_up_takes_nothing_along(autojump_clock: MockClock) -> None:
    channel = Channel(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.take, *ALL)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await channel.send(sized(1))
    assert sizes(await channel.take(*ALL)) == [1]


async def test_a_sender_that_gives_up_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    channel = Channel(1)
    await channel.send(sized(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send, sized(5))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (channel.waiting, channel.events_in_flight, channel.bytes_in_flight) == (1, 1, 1)


# ---- the pace of batches that are not full -----------------------------------------------------


async def timed_take(channel: Channel, max_events: int = 10, max_bytes: int = 100) -> Taken:
    taken = await channel.take(max_events, max_bytes, pace_s=5.0)
    return trio.current_time(), sizes(taken)


async def test_after_a_rest_nothing_waits(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    for _ in range(3):
        await trio.sleep(5)
        now = trio.current_time()
        channel.put(sized(1))
        assert await timed_take(channel) == (now, [1])


async def test_a_steady_stream_is_taken_at_a_steady_pace(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    found: list[Taken] = []

    async def take_all() -> None:
        with suppress(EndOfChannel):
            while True:
                found.append(await timed_take(channel))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take_all)
        channel.put(sized(1))
        for pause in [0.5] + 10 * [1.0]:
            await trio.sleep(pause)
            channel.put(sized(1))
        channel.close()
    assert found == [(0, [1]), (5, [1] * 5), (10, [1] * 5), (10.5, [1])]


@pytest.mark.parametrize(
    ("put", "taken"),
    [([1] * 11, [1] * 10), ([60, 60], [60])],
    ids=["events", "bytes"],
)
async def test_a_full_batch_keeps_no_pace(
    put: list[int], taken: list[int], autojump_clock: MockClock
) -> None:
    channel = Channel(10**6)
    channel.put(sized(1))
    await timed_take(channel)
    channel.put(sized(put[0]))
    found: list[Taken] = []

    async def take() -> None:
        found.append(await timed_take(channel))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await trio.sleep(1)
        assert found == []
        channel.put(sized(*put[1:]))
        await trio.testing.wait_all_tasks_blocked()
        assert found == [(1, taken)]
    assert found[1] == (6, put[len(taken) :])


async def test_a_full_channel_keeps_no_pace(autojump_clock: MockClock) -> None:
    channel = Channel(50)
    channel.put(sized(10))
    channel.settle(await channel.take(10, 100))
    channel.put(sized(60))
    assert await timed_take(channel) == (0, [60])


async def test_the_end_of_the_channel_ends_the_wait(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    channel.put(sized(1))
    await timed_take(channel)
    channel.put(sized(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed_take, channel)
        await trio.sleep(1)
        channel.close()
        await trio.testing.wait_all_tasks_blocked()
        assert (channel.waiting, trio.current_time()) == (0, 1)


async def test_who_gives_up_waiting_leaves_it_to_another(autojump_clock: MockClock) -> None:
    channel = Channel(10**6)
    channel.put(sized(1))
    await timed_take(channel)
    found: list[Taken] = []
    channel.put(sized(2))
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as gives_up:
            gives_up.deadline = trio.current_time() + 1
            async with trio.open_nursery() as inner:
                inner.start_soon(timed_take, channel)
                await trio.testing.wait_all_tasks_blocked()

                async def take() -> None:
                    found.append(await timed_take(channel))

                nursery.start_soon(take)
    assert found == [(5, [2])]
