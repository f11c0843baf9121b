"""Publishes the stream over AMQP with Azure's own producer, at the pace of a busy installation."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import trio
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

from demo.errors import DemoError
from testkit.falco import Key
from testkit.streams.stream import Published

_TICKS_PER_SECOND = 20


@dataclass(slots=True)
class Progress:
    """How far the publisher has come."""

    hub_events: int = 0
    audit_events: int = 0
    sent_at: dict[Key, float] = field(default_factory=dict)
    """When each audit event was handed to the producer, on the monotonic clock."""
    finished: bool = False


async def publish(
    connection_string: str, hub: str, stream: Sequence[Published], seconds: float, done: Progress
) -> None:
    """Publish the stream, spread evenly over so many seconds. Raises DemoError."""
    ticks = max(1, round(seconds * _TICKS_PER_SECOND))
    per_tick = -(-len(stream) // ticks)
    with _producer(connection_string, hub) as producer:
        start: float | None = None
        for tick in range(ticks):
            part = stream[tick * per_tick : (tick + 1) * per_tick]
            now = monotonic()
            done.sent_at.update((key, now) for published in part for key in published.audit)
            try:
                await trio.to_thread.run_sync(_send, producer, part)
            except EventHubError as error:
                raise DemoError(f"the stream cannot be published: {error}") from error
            done.hub_events += len(part)
            done.audit_events += sum(len(published.audit) for published in part)
            # The first sends also open the links, which is not to be caught up with in a burst.
            start = start or trio.current_time()
            await trio.sleep_until(start + tick / _TICKS_PER_SECOND)
    done.finished = True


@contextmanager
def _producer(connection_string: str, hub: str) -> Iterator[EventHubProducerClient]:
    producer = EventHubProducerClient.from_connection_string(connection_string, eventhub_name=hub)
    with producer:
        yield producer


def _send(producer: EventHubProducerClient, part: Sequence[Published]) -> None:
    by_partition: dict[int, list[bytes]] = defaultdict(list)
    for published in part:
        by_partition[published.partition].append(published.body)
    for partition, bodies in by_partition.items():
        _send_to_partition(producer, str(partition), bodies)


def _send_to_partition(
    producer: EventHubProducerClient, partition: str, bodies: Sequence[bytes]
) -> None:
    batch = producer.create_batch(partition_id=partition)
    for body in bodies:
        try:
            batch.add(EventData(body))
        except ValueError:  # the batch is full: the SDK has no other way to say so
            producer.send_batch(batch)
            batch = producer.create_batch(partition_id=partition)
            batch.add(EventData(body))
    producer.send_batch(batch)
