"""What the SDK alone costs: a loop that receives a backlog and drops it.

    python -m bench.ceiling CONNECTION_STRING BODIES PREFETCH

Prints the CPU seconds of the process from the first event to the last.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from bench.hub import HUB


async def receive(connection_string: str, bodies: int, prefetch: int) -> float:
    """Receive so many hub events; returns CPU seconds."""
    done = asyncio.Event()
    count = 0
    started = 0.0

    async def on_batch(_context: PartitionContext, events: Sequence[EventData]) -> None:
        nonlocal count, started
        if not count:
            started = time.process_time()
        count += len(events)
        if count >= bodies:
            done.set()

    client = EventHubConsumerClient.from_connection_string(
        connection_string, "$Default", eventhub_name=HUB
    )
    async with client:
        receiving = asyncio.create_task(
            client.receive_batch(on_batch, starting_position="-1", prefetch=prefetch)
        )
        await done.wait()
        used = time.process_time() - started
        await client.close()
        receiving.cancel()
    return used


def main() -> None:
    """Print the CPU seconds."""
    print(asyncio.run(receive(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))


if __name__ == "__main__":
    main()
