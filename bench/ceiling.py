"""Measures the parts around the forwarder without the forwarder.

    python -m bench.ceiling receive CONNECTION_STRING BODIES PREFETCH
    python -m bench.ceiling idle CONNECTION_STRING SECONDS
    python -m bench.ceiling post URL POSTS

``receive`` is a loop that receives with the SDK and drops what it gets: it prints the CPU seconds
and the seconds from the first hub event to the last. ``idle`` is the same loop on an idle
hub: CPU seconds and seconds. ``post`` posts one body of 400 audit events again and again from a
bare socket: CPU seconds and seconds.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from aks_audit.audit.unpack import unpack
from aks_audit.delivery.webhook import Body
from bench.hub import HUB
from testkit.streams.stream import bench_bodies

EVENTS_PER_POST = 400
SETTLE_S = 5.0
Used = tuple[float, float]
"""CPU seconds and elapsed seconds."""


def _spent(cpu: float, start: float) -> Used:
    return time.process_time() - cpu, time.monotonic() - start


async def receive(connection_string: str, bodies: int, prefetch: int) -> Used:
    """Receive this number of hub events; return what was used from the first to the last."""
    done = asyncio.Event()
    count = 0
    cpu = start = 0.0

    async def on_batch(_context: PartitionContext, events: Sequence[EventData]) -> None:
        nonlocal count, cpu, start
        if not count:
            cpu, start = time.process_time(), time.monotonic()
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
        used = _spent(cpu, start)
        await client.close()
        receiving.cancel()
    return used


async def idle(connection_string: str, seconds: float) -> Used:
    """Wait for hub events on an idle hub; return what was used."""

    async def on_batch(_context: PartitionContext, _events: Sequence[EventData]) -> None:
        raise AssertionError("nothing was to come")

    client = EventHubConsumerClient.from_connection_string(
        connection_string, "$Default", eventhub_name=HUB
    )
    async with client:
        receiving = asyncio.create_task(client.receive_batch(on_batch, starting_position="-1"))
        await asyncio.sleep(SETTLE_S)
        cpu, start = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        used = _spent(cpu, start)
        await client.close()
        receiving.cancel()
    return used


def post(url: str, posts: int) -> Used:
    """Post the same body this many times; return what was used."""
    parts = urlsplit(url)
    hub_event = next(bench_bodies(1, records_per_body=EVENTS_PER_POST))
    body = b"".join(Body([event.raw for event in unpack(hub_event.body)[0]]).pieces())
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
    ) + body
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        cpu, start = time.process_time(), time.monotonic()
        for _ in range(posts):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")
        return _spent(cpu, start)


def main() -> None:
    """Print what was used."""
    kind, address, *numbers = sys.argv[1:]
    if kind == "receive":
        used = asyncio.run(receive(address, int(numbers[0]), int(numbers[1])))
    elif kind == "idle":
        used = asyncio.run(idle(address, float(numbers[0])))
    else:
        used = post(address, int(numbers[0]))
    print(*used)


if __name__ == "__main__":
    main()
