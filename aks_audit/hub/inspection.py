"""What the hub says of a partition: how far its stream goes, and a single event of it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from ..errors import Retryable
from ..model import Position
from .sdk.conversion import milliseconds, position_of, state_of
from .stream import State

PEEK_S = 30.0
"""How long a look at one event may take."""
LOOKS_AT_ONCE = 32
"""Partitions that are looked at at the same time. Each look is a connection. It takes some 0.6 s,
most of it in pauses of the SDK: with 8 at a time, the looks at 256 partitions took three quarters
of the start (measured)."""


class Inspection:
    """Asks the hub that one client reads. All methods are called on the SDK's thread.

    Args:
        make_client: Makes another client, to look at single events with.
    """

    def __init__(self, make_client: Callable[[], EventHubConsumerClient]) -> None:
        self._make_client = make_client
        self._client: EventHubConsumerClient
        self.at_once = asyncio.Semaphore(LOOKS_AT_ONCE)
        """Held by whoever looks at a partition."""
        self.hub_created_ms = 0
        """When the hub that is read was created, in milliseconds of Unix time."""

    def begin(self, client: EventHubConsumerClient, hub_created: datetime) -> None:
        """Ask by this client from now on, which reads a hub that was created then."""
        self._client = client
        self.hub_created_ms = milliseconds(hub_created)

    async def is_another_hub(self) -> bool:
        """Whether the hub was created anew since `begin`. Raises what the SDK raises."""
        properties = await self._client.get_eventhub_properties()
        return milliseconds(properties["created_at"]) != self.hub_created_ms

    async def state(self, partition: str) -> State:
        """Ask for the state of a partition. Raises what the SDK raises."""
        properties = await self._client.get_partition_properties(partition)
        return state_of(properties, self.hub_created_ms)

    async def event_at(self, stored: Position, state: State, partition: str) -> Position | None:
        """The event with a checkpoint's sequence number; None where the hub does not have it.

        Raises Retryable, and what the SDK raises.
        """
        number = stored.sequence_number
        if not state.oldest <= number <= state.last.sequence_number:
            return None
        # With the level of our own readers, which displaces one that an earlier client left behind.
        found = await self.first(partition, number, owner_level=0)
        return found if found.sequence_number == number else None

    async def first(
        self, partition: str, position: datetime | int, owner_level: int | None = None
    ) -> Position:
        """The first event at or after a position. Raises Retryable, and what the SDK raises."""
        event = await peek(self._make_client(), partition, position, owner_level)
        return position_of(event, self.hub_created_ms)


async def peek(
    client: EventHubConsumerClient,
    partition: str,
    position: datetime | int,
    owner_level: int | None = None,
) -> EventData:
    """The first event at or after a position, by a client that is closed then.

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
                owner_level=owner_level,
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
