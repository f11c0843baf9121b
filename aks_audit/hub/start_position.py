"""Where partitions begin: at their checkpoint, and where there is none, at STARTPOSITION.

STARTPOSITION is resolved to a sequence number once, when the partition is claimed for the first
time, and written as its checkpoint at once. If "latest" were found out anew at each start, a
partition that happened to be quiet until a crash would lose what arrives before the restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from ..config.settings import HubConfig, StartAt
from ..errors import Retryable
from ..model import START_OF_STREAM, Position

PEEK_S = 30.0
"""How long a look at one event may take."""
LOOKS_AT_ONCE = 8
"""Partitions that are asked for their state at the same time: each look is a connection."""

CreateCheckpoint = Callable[[str, Position], Awaitable[Position]]
"""async (partition, position) -> position: write a first checkpoint; returns the one that stands"""


class StartPositions:
    """Where each partition begins.

    Args:
        hub: With STARTPOSITION.
        make_client: Makes another client, to look at single events with.
        create: Writes a first checkpoint.
    """

    def __init__(
        self,
        hub: HubConfig,
        make_client: Callable[[], EventHubConsumerClient],
        create: CreateCheckpoint,
    ) -> None:
        self._hub = hub
        self._make_client = make_client
        self._create = create
        self._known: dict[str, Position] = {}

    def get(self, partition: str) -> Position | None:
        """The position behind which the SDK reads a partition, as it was told last."""
        return self._known.get(partition)

    async def listed(
        self,
        client: EventHubConsumerClient,
        checkpoints: Collection[dict[str, Any]],
        partitions: set[str],
    ) -> list[dict[str, Any]]:
        """See to it that each partition has a checkpoint before one of ours is read.

        Args:
            client: Asks the hub.
            checkpoints: The SDK's, as the store has them.
            partitions: All of the hub, as far as they are known.

        Returns:
            What the SDK needs to know of each partition.

        Raises:
            Retryable: The store, or the hub, does not answer.
            EventHubError: As the SDK raises it.
        """
        for checkpoint in checkpoints:
            self._known[checkpoint["partition_id"]] = Position(
                checkpoint["sequence_number"], str(checkpoint["offset"])
            )
        there = {checkpoint["partition_id"] for checkpoint in checkpoints}
        await self._write_first_checkpoints(client, partitions - there, there)
        return [
            {"partition_id": partition, "offset": start.offset}
            for partition, start in self._known.items()
        ]

    async def _write_first_checkpoints(
        self, client: EventHubConsumerClient, missing: set[str], there: set[str]
    ) -> None:
        """Settle where partitions begin that have no checkpoint, whoever will own them.

        The last partition is written first. So a partition without a checkpoint, of a group
        that has one for a lower partition, is new, or was never read by whoever wrote the
        others: nothing of it may be passed over.
        """
        looking = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def start_of(partition: str) -> Position:
            late = any(_number(each) < _number(partition) for each in there)
            async with looking:
                return await self._resolve(client, partition, from_oldest=late)

        partitions = sorted(missing, key=_number, reverse=True)
        positions = await asyncio.gather(*map(start_of, partitions))
        for partition, position in zip(partitions, positions, strict=True):
            # Another replica may have been quicker: what it wrote stands, for us as well.
            self._known[partition] = await self._create(partition, position)

    async def _resolve(
        self, client: EventHubConsumerClient, partition: str, *, from_oldest: bool
    ) -> Position:
        """The position *behind* which a partition is to be read. Raises what the SDK raises.

        With ``from_oldest``, that is before all there is, whatever STARTPOSITION says.
        """
        properties = await client.get_partition_properties(partition)
        last = Position(
            properties["last_enqueued_sequence_number"], str(properties["last_enqueued_offset"])
        )
        if properties["is_empty"]:
            # Nothing to read, but sequence numbers go on where retention took the events away.
            return last if last.sequence_number >= 0 else START_OF_STREAM
        oldest: int = properties["beginning_sequence_number"]
        start = StartAt.EARLIEST if from_oldest else self._hub.start_position
        if start is StartAt.LATEST:
            return last
        if isinstance(start, datetime):
            if properties["last_enqueued_time_utc"] < start:
                return last
            first = await _peek(self._make_client(), partition, start)
            before = (first.sequence_number or 0) - 1
            if before >= oldest:
                previous = await _peek(self._make_client(), partition, before)
                return Position(before, previous.offset or "")
        return Position(oldest - 1, START_OF_STREAM.offset)


def _number(partition: str) -> tuple[int, str]:
    """The order in which partitions were added: they are numbered."""
    return (int(partition) if partition.isdecimal() else 0, partition)


async def _peek(
    client: EventHubConsumerClient, partition: str, position: datetime | int
) -> EventData:
    """The first event at or after a position.

    Raises Retryable when none comes, and what the SDK raises when it cannot receive.
    """
    found: asyncio.Future[EventData] = asyncio.get_running_loop().create_future()

    async def on_event(_context: PartitionContext, event: EventData | None) -> None:
        if event is not None and not found.done():
            found.set_result(event)

    async with client:
        receiving = asyncio.create_task(
            client.receive(
                on_event=on_event,
                partition_id=partition,
                starting_position=position,
                starting_position_inclusive=True,
                prefetch=1,
            )
        )
        try:
            either: set[asyncio.Future[Any]] = {found, receiving}
            await asyncio.wait(either, timeout=PEEK_S, return_when=asyncio.FIRST_COMPLETED)
            if found.done():
                return found.result()
            raise Retryable(f"no event of partition {partition} at {position}")
        finally:
            await client.close()
            # What still runs is the load balancer's pause.
            receiving.cancel()
            await asyncio.wait({receiving})
            if not receiving.cancelled():
                receiving.result()
