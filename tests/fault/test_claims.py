"""Claims that overlap, fail half way or come too late: none may cost an event."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Self, cast

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from azure.eventhub import CloseReason, EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import EventHubError

from aks_audit.checkpoints.ledger import Ledger, PartitionLedger
from aks_audit.config.load import load
from aks_audit.errors import Retryable
from aks_audit.hub.balancing import BALANCE_LAPSE_S
from aks_audit.hub.handover import Handover
from aks_audit.hub.inspection import peek
from aks_audit.hub.ownership import BACKOFF_MAX_S, StoreBackoff
from aks_audit.hub.receiver import Receiver
from aks_audit.hub.wiring import Wiring
from aks_audit.model import Position
from tests.helpers import ENVIRONMENT

HUB = load(ENVIRONMENT).hub


@dataclass
class Context:
    """What a receiver needs of the SDK's PartitionContext."""

    partition_id: str = "0"


CONTEXT = cast("PartitionContext", Context())


class Trio:
    """The other side of a receiver: claims from a ledger, at whatever the store holds."""

    def __init__(self, portal: BlockingPortal) -> None:
        self.ledger = Ledger()
        self.stored = Position(-1, "-1")
        self.released: list[PartitionLedger] = []
        self.handover: Handover = portal.call(Handover)
        unused: Any = None
        wiring = Wiring(
            portal=portal,
            handover=self.handover,
            store=unused,
            store_threads=unused,
            inflight_max_bytes=1,
            start=self._start,
            restart=self._restart,
            claim=self._claim,
            release=self._release,
            contested=lambda _: None,
            suspects=set(),
        )
        self.receiver = Receiver(HUB, wiring)
        self.receiver._starts._known["0"] = self.stored

    async def _start(self, _: str, __: Position) -> Position:
        return self.stored

    async def _restart(self, _: str, __: Position, position: Position | None) -> None:
        self.stored = position or self.stored

    async def _claim(self, partition: str, _: Position) -> PartitionLedger:
        return self.ledger.claim(partition, self.stored)

    async def _release(self, ledger: PartitionLedger) -> None:
        self.released.append(ledger)


@pytest.fixture
def other() -> Iterator[Trio]:
    with start_blocking_portal("trio") as portal:
        yield Trio(portal)


def event(number: int) -> EventData:
    made = EventData(b"{}")
    made.raw_amqp_message.annotations = {
        b"x-opt-sequence-number": number,
        b"x-opt-offset": str(number).encode(),
    }
    return made


def waiting(other: Trio) -> list[tuple[PartitionLedger, list[int]]]:
    return [
        (ledger, [each.position.sequence_number for each in events])
        for ledger, events in other.handover._waiting
    ]


def run(function: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(_await(function), 30))


async def _await(function: Callable[[], Awaitable[None]]) -> None:
    await function()


def test_what_an_old_claim_brings_late_does_not_move_the_new_one(other: Trio) -> None:
    receiver = other.receiver

    async def main() -> None:
        claimed, go_on = asyncio.Event(), asyncio.Event()

        async def old() -> None:
            await receiver._callbacks.on_claimed(CONTEXT)
            claimed.set()
            await go_on.wait()
            await asyncio.create_task(receiver._callbacks.on_events(CONTEXT, [event(9)]))

        slow = asyncio.create_task(old())
        await claimed.wait()
        (ledger,) = other.ledger.partitions()
        ledger.wrote(Position(4, "4"))  # so that a claim at -1 is another one

        async def new() -> None:
            await receiver._callbacks.on_claimed(CONTEXT)
            await asyncio.create_task(receiver._callbacks.on_events(CONTEXT, [event(0)]))

        await asyncio.create_task(new())
        (fresh,) = other.ledger.partitions()
        assert fresh is not ledger
        go_on.set()
        with pytest.raises(Retryable, match="claimed anew"):
            await slow
        assert waiting(other) == [(fresh, [0])]

    run(main)


def test_a_claim_that_closes_late_leaves_the_marks_of_the_new_one(other: Trio) -> None:
    receiver = other.receiver

    async def main() -> None:
        claimed, go_on = asyncio.Event(), asyncio.Event()

        async def old() -> None:
            await receiver._callbacks.on_claimed(CONTEXT)
            claimed.set()
            await go_on.wait()
            await asyncio.shield(receiver._callbacks.on_closed(CONTEXT, CloseReason.OWNERSHIP_LOST))

        async def new() -> None:
            await receiver._callbacks.on_claimed(CONTEXT)
            await receiver._callbacks.on_events(CONTEXT, [event(0)])
            receiver.watchdog.blocked.add("0")
            go_on.set()
            await closing
            assert "0" in receiver.watchdog.partitions
            assert "0" in receiver.watchdog.blocked
            assert receiver._probe.received == {"0": 0}
            await asyncio.shield(receiver._callbacks.on_closed(CONTEXT, CloseReason.SHUTDOWN))

        closing = asyncio.create_task(old())
        await claimed.wait()
        await asyncio.create_task(new())
        # The same ledger, since nobody else wrote in between.
        assert len(set(other.released)) == 1
        assert not receiver.watchdog.partitions
        assert not receiver.watchdog.blocked
        assert not receiver._probe.received

    run(main)


def test_a_claim_behind_the_sdk_s_start_is_refused(other: Trio) -> None:
    other.receiver._starts._known["0"] = Position(150, "150")
    other.stored = Position(100, "100")

    async def main() -> None:
        with pytest.raises(Retryable, match="went back"):
            await other.receiver._callbacks.on_claimed(CONTEXT)
        with pytest.raises(Retryable, match="not claimed"):
            await other.receiver._callbacks.on_events(CONTEXT, [event(151)])

    run(main)
    assert not waiting(other)


def test_a_partition_that_was_fenced_off_is_let_go_of(other: Trio) -> None:
    async def main() -> None:
        await other.receiver._callbacks.on_claimed(CONTEXT)
        (ledger,) = other.ledger.partitions()
        other.ledger.forget("0", ledger)
        with pytest.raises(Retryable, match="claimed anew"):
            await other.receiver._callbacks.on_events(CONTEXT, [])
        await asyncio.shield(
            other.receiver._callbacks.on_closed(CONTEXT, CloseReason.OWNERSHIP_LOST)
        )
        assert other.released == [ledger]

    run(main)


def test_another_replica_s_first_checkpoint_is_where_we_start(other: Trio) -> None:
    receiver = other.receiver
    receiver._partitions = {"0"}
    other.stored = Position(100, "100")

    async def main() -> None:
        class Hub:
            async def get_partition_properties(self, _: str) -> dict[str, Any]:
                return {
                    "is_empty": False,
                    "beginning_sequence_number": 0,
                    "last_enqueued_sequence_number": 150,
                    "last_enqueued_offset": "150",
                    "last_enqueued_time_utc": datetime(2026, 1, 1, tzinfo=UTC),
                }

        receiver._inspection._client = cast("EventHubConsumerClient", Hub())
        await receiver._listed({}, set())
        assert receiver._starts.positions == {"0": 100}

    run(main)


def test_a_callback_that_had_to_wait_never_looks_as_if_it_had_lapsed(other: Trio) -> None:
    """The watchdog may be asked at any moment, also between two marks."""
    watchdog = other.receiver.watchdog

    class Blocked(set[str]):
        def discard(self, partition: object, /) -> None:
            assert watchdog.partitions[str(partition)] > 0
            super().discard(str(partition))

    async def main() -> None:
        await other.receiver._callbacks.on_claimed(CONTEXT)
        watchdog.blocked = Blocked()
        watchdog.partitions["0"] = 0
        await other.receiver._callbacks.on_events(CONTEXT, [event(0)])
        assert not watchdog.blocked

    run(main)


def test_a_store_that_fails_is_asked_each_round_while_ownership_lasts_then_seldom() -> None:
    now = 0.0
    backoff = StoreBackoff(lambda: now)
    asked: list[float] = []
    for number in range(60):
        now = number * 11.0
        try:
            backoff.check()
        except Retryable:
            continue
        asked.append(now)
        backoff.failed(Retryable("no route to host"))
    early = [at for at in asked if at <= BALANCE_LAPSE_S]
    assert early == [0.0, 11.0, 22.0, 33.0, 44.0, 55.0]
    gaps = [after - before for before, after in pairwise(asked[6:])]
    assert max(gaps) <= BACKOFF_MAX_S + 11
    assert min(gaps[2:]) >= 0.7 * BACKOFF_MAX_S
    backoff.worked()
    now += BACKOFF_MAX_S
    backoff.check()
    backoff.failed(Retryable("no route to host"))
    backoff.check()


class Failing:
    """What `inspection.peek` asks of the SDK's client: it cannot receive."""

    def __init__(self) -> None:
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def receive(self, **_: object) -> None:
        raise EventHubError("no such consumer group")

    async def close(self) -> None:
        self.closed = True


def test_a_look_at_an_event_ends_when_the_client_cannot_receive() -> None:
    client = Failing()

    async def main() -> None:
        with pytest.raises(EventHubError, match="no such consumer group"):
            await peek(cast("EventHubConsumerClient", client), "0", 7)

    run(main)
    assert client.closed
