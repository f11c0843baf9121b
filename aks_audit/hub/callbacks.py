"""What the SDK tells of the partitions of one client: claimed, events, an error, closed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

from azure.eventhub import CloseReason, EventData
from azure.eventhub.aio import PartitionContext

from ..config.settings import HubConfig
from ..errors import Retryable, describe
from ..model import HubEvent
from ..ops.logs import get_logger
from .balancing import BALANCE_S
from .claim import AnotherStream, Claim
from .handover import on_trio
from .inspection import Inspection
from .lag_probe import LagProbe
from .sdk.conversion import displaced, to_hub_event
from .start_position import StartPositions
from .stream import refused
from .watchdog import Watchdog
from .wiring import Wiring

log = get_logger("receiver")

RECHECK_S = BALANCE_S
"""How long a partition that is not to be read stays so, before a round of load balancing claims it
anew, and reads its checkpoint again."""

_claim: ContextVar[Claim] = ContextVar("claim")
"""The claim under which the current task reads. The SDK runs each claim in a task of its own, and
may run two of one partition at a time, the old one still closing: what the old one brings must not
be noted as progress of the new one, which has yet to read what lies before."""


class Callbacks:
    """The SDK's callbacks of one client. All are called on its thread.

    Args:
        hub: Names the consumer group.
        wiring: The way to trio, and what is told there.
        starts: Where partitions begin.
        inspection: Asks the hub.
        watchdog: Is given the signs of life.
        probe: Is told what was received.
        still_ours: async (partition) -> bool; whether the store says so. Raises Retryable.
    """

    def __init__(
        self,
        hub: HubConfig,
        wiring: Wiring,
        starts: StartPositions,
        inspection: Inspection,
        watchdog: Watchdog,
        probe: LagProbe,
        still_ours: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._hub = hub
        self._wiring = wiring
        self._starts = starts
        self._inspection = inspection
        self._watchdog = watchdog
        self._probe = probe
        self._still_ours = still_ours
        self._claims: dict[str, Claim] = {}
        """By partition, the claim that is current: the latest one."""

    async def on_claimed(self, context: PartitionContext) -> None:
        """A partition is ours, and about to be read. Raises Retryable where it cannot be."""
        partition = context.partition_id
        if (why := self._starts.stopped.get(partition)) is not None:
            await self._leave_unread(partition, why)
        start = self._starts.get(partition)
        if start is None:
            raise Retryable(f"partition {partition} has no start position yet")
        ledger = await on_trio(self._wiring.portal, self._wiring.claim, partition, start)
        if start.sequence_number > ledger.seen:
            # The SDK would read from behind what is delivered or in flight.
            raise Retryable(f"the checkpoint of partition {partition} went back meanwhile")
        asked = partition in self._starts.asked
        self._claims[partition] = claim = Claim(ledger, start, start, asked)
        _claim.set(claim)
        self._probe.received[partition] = ledger.written.sequence_number
        self._watchdog.claimed(partition)
        log.info(
            "partition claimed", partition=partition, sequence_number=ledger.written.sequence_number
        )

    async def on_events(self, context: PartitionContext, events: Sequence[EventData]) -> None:
        """Events of a partition came, or none in `EMPTY_CALLBACK_S`: hand them over.

        Raises Retryable where the claim has ended: the SDK closes the partition then.
        """
        partition = context.partition_id
        claim = _claim.get(None)
        if claim is None:
            # The SDK reads on where on_partition_initialize failed; its close gets us another try.
            raise Retryable(f"partition {partition} is not claimed")
        if claim.ledger.cut_off:
            # By another replica, perhaps one that is gone again: the SDK may not have noticed.
            raise Retryable(f"partition {partition} was claimed anew")
        if partition in self._wiring.suspects:
            # Closed, so that it is claimed again, and its stream looked into.
            raise Retryable(f"the stream of partition {partition} may be another one")
        if events:
            created_ms = self._inspection.hub_created_ms
            hub_events = [to_hub_event(partition, event, created_ms) for event in events]
            try:
                await self._check_stream(claim, hub_events)
            except AnotherStream:
                self._wiring.suspects.add(partition)
                raise
            if hub_events[0].position.sequence_number == claim.start.sequence_number:
                del hub_events[0]  # it came to show the stream, and is done
            self._watchdog.blocked.add(partition)
            await self._wiring.handover.put((claim.ledger, hub_events))
            self._probe.received[partition] = claim.last.sequence_number
        # In this order: whoever looks in between sees a partition that waits or has called back.
        self._watchdog.called_back(partition, events=len(events))
        self._watchdog.blocked.discard(partition)

    async def on_closed(self, context: PartitionContext, reason: CloseReason) -> None:
        """A claim ends: have its last checkpoint written. Raises Retryable."""
        partition, claim = context.partition_id, _claim.get(None)
        if claim is None:
            return
        log.info("partition released", partition=partition, reason=reason.name.lower())
        # A claim that closes late leaves the marks of the one after it alone.
        if self._claims.get(partition) is claim:
            del self._claims[partition]
            self._watchdog.closed(partition)
            self._probe.forget(partition)
        await on_trio(self._wiring.portal, self._wiring.release, claim.ledger)

    def on_opening(self, partition: str, error: Exception | None) -> None:
        """The link of a partition was opened, or could not be."""
        reason = None if error is None else describe(error)
        if reason is not None and reason != self._watchdog.unopened.get(partition):
            log.warning("a partition cannot be opened", partition=partition, reason=reason)
        if error is not None and refused(str(error)):
            self._wiring.suspects.add(partition)
        self._watchdog.opened(partition, reason)

    async def on_error(self, context: PartitionContext | None, error: Exception) -> None:
        """A partition cannot be read, or a round of load balancing has failed."""
        # The load balancer's errors come without a partition.
        partition = None if context is None else context.partition_id
        reason = describe(error)
        self._watchdog.failed(partition, reason)
        if partition is not None and refused(str(error)):
            self._wiring.suspects.add(partition)
        log.warning("receiving failed", partition=partition, reason=reason)
        claim = _claim.get(None)
        # An old claim of our own that is still closing is displaced by the new one.
        if partition is not None and displaced(error) and self._claims.get(partition) is claim:
            await self._look_for_another_program(partition)

    async def _look_for_another_program(self, partition: str) -> None:
        """Tell of a program that reads with the consumer group and does not know our store.

        Our own replicas take a partition in the store first, and only then its link.
        """
        try:
            if not await self._still_ours(partition):
                return
        except Retryable:
            return  # it cannot be told, and the store's fault is told elsewhere
        self._wiring.contested(partition)
        if self._watchdog.contested(partition):
            log.error(
                "another program reads the consumer group: give each its own CONSUMERGROUP",
                consumer_group=self._hub.consumer_group,
                partition=partition,
            )

    async def _leave_unread(self, partition: str, why: str) -> None:
        """Keep a partition's ownership, read nothing, and close it after a while."""
        if self._watchdog.stopped.get(partition) != why:
            log.error("a partition is not read", partition=partition, reason=why)
        self._watchdog.stop(partition, why)
        await asyncio.sleep(RECHECK_S)
        # The SDK reads on where this callback raises anything else: only a cancelled task closes
        # the partition (`aio/_eventprocessor/event_processor.py`, ``_receive``).
        raise asyncio.CancelledError

    async def _check_stream(self, claim: Claim, events: Sequence[HubEvent]) -> None:
        """Raise AnotherStream where events cannot be of the stream that the claim began with."""
        gap = claim.follow(events)
        if gap is None:
            return
        partition = events[0].partition
        state = await self._inspection.state(partition)
        if state.oldest <= gap + 1:
            raise AnotherStream(
                f"the stream of partition {partition}: what follows {gap} did not come, and the hub"
                f" has all from {state.oldest} on"
            )
