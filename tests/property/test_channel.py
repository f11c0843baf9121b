from collections import Counter

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.delivery.channel import Channel
from aks_audit.delivery.inflight import InFlight
from aks_audit.model import START_OF_STREAM, Item, Outcome
from aks_audit.ops.metrics import Metrics
from tests.helpers import examples, make_item, waiting

hub_events = st.lists(st.integers(1, 60), max_size=5)
"""The sizes of a hub event's audit events."""
pauses = st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=5)


@examples(150)
@given(
    senders=st.lists(st.tuples(st.lists(hub_events, max_size=6), pauses), min_size=1, max_size=4),
    takers=st.lists(pauses, min_size=1, max_size=4),
    max_bytes=st.integers(1, 200),
    max_events=st.integers(1, 12),
    batch=st.tuples(st.integers(1, 6), st.integers(1, 120)),
)
async def test_with_any_senders_and_takers_every_item_comes_once_and_in_order(
    senders: list[tuple[list[list[int]], list[float]]],
    takers: list[list[float]],
    max_bytes: int,
    max_events: int,
    batch: tuple[int, int],
    autojump_clock: MockClock,
) -> None:
    in_flight = InFlight(max_bytes, Metrics().outcomes, max_events)
    channel = Channel(in_flight, max_events=batch[0], max_bytes=batch[1])
    sent: dict[str, list[Item]] = {}
    taken: list[Item] = []
    largest = max((sum(one) for known, _ in senders for one in known), default=0)
    most = max((len(one) for known, _ in senders for one in known), default=0)

    async def send(name: str, known: list[list[int]], waits: list[float]) -> None:
        ledger = PartitionLedger(name, START_OF_STREAM)
        sent[name] = []
        for number, one in enumerate(known):
            items = [make_item(b"x" * size, ledger) for size in one]
            await trio.sleep(waits[number % len(waits)])
            await in_flight.room()
            channel.put(items)
            sent[name] += items
            # Below the bound before, so it is passed by one hub event at most.
            assert in_flight.bytes < max_bytes + largest
            assert in_flight.events < max_events + most

    async def take(waits: list[float]) -> None:
        rounds = 0
        while True:
            items = await channel.take()
            size = sum(len(item.event.raw) for item in items) + len(items) - 1
            assert 1 <= len(items) <= batch[0]
            assert size <= batch[1] or len(items) == 1
            taken.extend(items)
            await trio.sleep(waits[rounds % len(waits)])
            in_flight.settle(items, Outcome.DELIVERED)
            rounds += 1

    async with trio.open_nursery() as taking:
        for waits in takers:
            taking.start_soon(take, waits)
        async with trio.open_nursery() as sending:
            for number, (known, waits) in enumerate(senders):
                sending.start_soon(send, str(number), known, waits)
        await in_flight.drained()
        taking.cancel_scope.cancel()
    assert Counter(map(id, taken)) == Counter(id(item) for items in sent.values() for item in items)
    for name, items in sent.items():
        assert [item for item in taken if item.ticket.partition == name] == items
    assert (waiting(channel), in_flight.events, in_flight.bytes) == ([], 0, 0)
