"""Publishes hub events over AMQP with Azure's own producer, at once or at a steady pace."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import trio
from azure.eventhub import EventData, EventHubProducerClient

from testkit.streams.records import Key
from testkit.streams.stream import Published

_TICKS_PER_SECOND = 20


@dataclass(slots=True)
class Progress:
    """How much the publisher has sent."""

    hub_events: int = 0
    audit_events: int = 0
    sent_at: dict[Key, float] = field(default_factory=dict)
    """When each audit event was handed to the producer, on the monotonic clock."""
    finished: bool = False


async def publish(
    connection_string: str, hub: str, stream: Sequence[Published], seconds: float, done: Progress
) -> None:
    """Publish the stream, spread evenly over so many seconds. Raises EventHubError."""
    ticks = max(1, round(seconds * _TICKS_PER_SECOND))
    per_tick = -(-len(stream) // ticks)
    with open_producer(connection_string, hub) as producer:
        start: float | None = None
        for tick in range(ticks):
            part = stream[tick * per_tick : (tick + 1) * per_tick]
            now = monotonic()
            done.sent_at.update((key, now) for published in part for key in published.audit)
            await trio.to_thread.run_sync(send, producer, part)
            done.hub_events += len(part)
            done.audit_events += sum(len(published.audit) for published in part)
            # The first sends also open the links, and this delay is not made up for by a burst.
            start = start or trio.current_time()
            await trio.sleep_until(start + tick / _TICKS_PER_SECOND)
    done.finished = True


@contextmanager
def open_producer(connection_string: str, hub: str) -> Iterator[EventHubProducerClient]:
    """Give a producer for a hub, for the time of the block."""
    producer = EventHubProducerClient.from_connection_string(connection_string, eventhub_name=hub)
    with producer:
        yield producer


def send(producer: EventHubProducerClient, hub_events: Iterable[Published]) -> None:
    """Send hub events, in the order of each partition. May block; raises EventHubError."""
    by_partition: dict[int, list[bytes]] = defaultdict(list)
    for each in hub_events:
        by_partition[each.partition].append(each.body)
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
