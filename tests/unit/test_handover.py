"""`hub.handover.Handover` between a real asyncio thread and trio."""

import asyncio
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.hub.handover import Delivery, Handover
from aks_audit.model import START_OF_STREAM, HubEvent, Position

LEDGER = PartitionLedger("0", START_OF_STREAM)


def delivery(number: int, size: int = 1, ledger: PartitionLedger = LEDGER) -> Delivery:
    event = HubEvent(ledger.partition, Position(number, str(number)), 0.0, b"x" * size)
    return ledger, [event]


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [event.position.sequence_number for _, events in deliveries for event in events]


async def on_asyncio(function: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await function()

    await trio.to_thread.run_sync(asyncio.run, main(), abandon_on_cancel=False)


async def test_events_arrive_in_order_and_complete() -> None:
    handover = Handover(max_bytes=10)
    found: list[int] = []

    async def put() -> None:
        for number in range(2000):
            await handover.put(delivery(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_asyncio, put)
        while len(found) < 2000:
            found += numbers(await handover.take())
    assert found == list(range(2000))


async def test_several_partitions_keep_their_own_order() -> None:
    ledgers = [PartitionLedger(str(number), START_OF_STREAM) for number in range(8)]

    handover = Handover(max_bytes=10)
    found: dict[str, list[int]] = {ledger.partition: [] for ledger in ledgers}

    async def put(ledger: PartitionLedger) -> None:
        for number in range(200):
            await handover.put(delivery(number, 3, ledger))
            if number % 7 == 0:
                await asyncio.sleep(0)

    async def put_all() -> None:
        await asyncio.gather(*map(put, ledgers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_asyncio, put_all)
        while sum(map(len, found.values())) < 8 * 200:
            for ledger, events in await handover.take():
                found[ledger.partition] += [event.position.sequence_number for event in events]
    assert found == {ledger.partition: list(range(200)) for ledger in ledgers}


async def test_too_much_makes_the_callback_wait() -> None:
    handover = Handover(max_bytes=10)
    log: list[str] = []
    blocked = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def put() -> None:
        await handover.put(delivery(0, 9))
        log.append("below the bound")
        await handover.put(delivery(1, 1000))
        log.append("one may pass the bound")
        waiting = asyncio.ensure_future(handover.put(delivery(2)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        log.append("no room")
        token.run_sync_soon(blocked.set)
        await waiting
        log.append("room again")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_asyncio, put)
        await blocked.wait()
        assert log[-1] == "no room"
        assert numbers(await handover.take()) == [0, 1]
        assert numbers(await handover.take()) == [2]
    assert log[-1] == "room again"


async def test_all_callbacks_that_wait_get_room_at_last() -> None:
    handover = Handover(max_bytes=1)
    found: list[int] = []

    async def put_all() -> None:
        await asyncio.gather(*(handover.put(delivery(number, 5)) for number in range(30)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_asyncio, put_all)
        while len(found) < 30:
            taken = numbers(await handover.take())
            assert len(taken) == 1  # five bytes are over the bound already
            found += taken
    assert sorted(found) == list(range(30))


async def test_a_callback_that_is_cancelled_harms_nobody() -> None:
    handover = Handover(max_bytes=1)
    cancelled = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def put() -> None:
        await handover.put(delivery(0))
        given_up = asyncio.ensure_future(handover.put(delivery(1)))
        other = asyncio.ensure_future(handover.put(delivery(2)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({given_up})
        assert given_up.cancelled()
        token.run_sync_soon(cancelled.set)
        await other

    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_asyncio, put)
        await cancelled.wait()
        assert numbers(await handover.take()) == [0]
        assert numbers(await handover.take()) == [2]


async def test_a_loop_that_is_gone_harms_nobody() -> None:
    handover = Handover(max_bytes=1)

    async def put() -> None:
        await handover.put(delivery(0))
        waiting = asyncio.ensure_future(handover.put(delivery(1)))
        await asyncio.sleep(0)
        waiting.cancel()

    await on_asyncio(put)
    assert numbers(await handover.take()) == [0]
    await on_asyncio(lambda: handover.put(delivery(2)))
    assert numbers(await handover.take()) == [2]


async def test_taking_waits_for_the_first_event() -> None:
    handover = Handover()
    found: list[int] = []

    async def take() -> None:
        found.extend(numbers(await handover.take()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        await on_asyncio(lambda: handover.put(delivery(7)))
    assert found == [7]


async def test_a_taker_that_is_cancelled_loses_nothing() -> None:
    handover = Handover()
    with trio.CancelScope() as scope:
        scope.cancel()
        await handover.take()
    assert scope.cancelled_caught
    await on_asyncio(lambda: handover.put(delivery(1)))
    assert numbers(await handover.take()) == [1]


async def taken_at_once(handover: Handover) -> list[Delivery]:
    handover._waiting.append(delivery(0))
    return await handover.take()


async def test_taking_lets_other_tasks_run() -> None:
    """A thread that is always quicker must not starve the probes and the signals."""
    handover = Handover()
    ran = trio.Event()

    async def other() -> None:
        ran.set()

    async with trio.open_nursery() as nursery:
        assert numbers(await taken_at_once(handover)) == [0]
        nursery.start_soon(other)
        while not ran.is_set():
            assert numbers(await taken_at_once(handover)) == [0]
