"""Where a partition starts that has no checkpoint: STARTPOSITION as a sequence number.

Resolved once, when the partition is claimed for the first time, and written as
its checkpoint at once. Were "latest" left to be found out at each start, a
partition that happened to be quiet until a crash would lose what arrives
before the restart.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from ..config.settings import HubConfig, StartAt
from ..errors import Retryable
from ..model import START_OF_STREAM, Position

PEEK_S = 30.0
"""How long a look at one event may take."""

MakeClient = Callable[[None], EventHubConsumerClient]


async def resolve(
    client: EventHubConsumerClient,
    hub: HubConfig,
    partition: str,
    make_client: MakeClient,
    *,
    from_oldest: bool = False,
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
    start = StartAt.EARLIEST if from_oldest else hub.start_position
    if start is StartAt.LATEST:
        return last
    if isinstance(start, datetime):
        if properties["last_enqueued_time_utc"] < start:
            return last
        first = await _peek(make_client(None), partition, start)
        before = (first.sequence_number or 0) - 1
        if before >= oldest:
            previous = await _peek(make_client(None), partition, before)
            return Position(before, previous.offset or "")
    return Position(oldest - 1, START_OF_STREAM.offset)


async def _peek(
    client: EventHubConsumerClient, partition: str, position: datetime | int
) -> EventData:
    """The first event at or after a position. Raises Retryable when none comes."""
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
            async with asyncio.timeout(PEEK_S):
                return await found
        except TimeoutError as error:
            raise Retryable(f"no event of partition {partition} at {position}") from error
        finally:
            await client.close()
            # What still runs is the load balancer's pause.
            receiving.cancel()
            await asyncio.wait({receiving})
            if not receiving.cancelled():
                receiving.result()
