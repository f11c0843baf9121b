import asyncio
import gc

from azure.eventhub._pyamqp.aio._receiver_async import ReceiverLink
from azure.eventhub.aio import EventHubConsumerClient

from aks_audit.hub.sdk.patches import forget_delivery_tags
from emulator import ThreadedEmulator


async def _receive(connection_string: str, count: int) -> list[int]:
    """Receive so many events; returns how many delivery tags each link remembers then."""
    received = 0
    done = asyncio.Event()

    async def on_batch(_context: object, events: list[object]) -> None:
        nonlocal received
        received += len(events)
        if received >= count:
            done.set()

    client = EventHubConsumerClient.from_connection_string(
        connection_string, "$Default", eventhub_name="audit"
    )
    async with client:
        task = asyncio.create_task(client.receive_batch(on_batch, starting_position="-1"))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            await done.wait()
        links = [each for each in gc.get_objects() if isinstance(each, ReceiverLink)]
        tags = [len(link._received_delivery_tags) for link in links]
        await client.close()
        task.cancel()
        await asyncio.wait({task})
    return tags


def test_no_link_remembers_what_it_received() -> None:
    forget_delivery_tags()
    with ThreadedEmulator({"audit": 1}) as emulator:
        emulator.broker.publish("audit", "0", [b"x"] * 500)
        tags = asyncio.run(_receive(emulator.connection_string, 500))
    # The management links are the SDK's own class, and hold a tag per answer.
    assert max(tags) < 10, tags
