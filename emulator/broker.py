"""The hubs of a namespace: what is published, what is kept, which consumer groups exist. No I/O."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

from . import message
from .errors import ARGUMENT_OUT_OF_RANGE, NOT_FOUND, RefusedError
from .partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .filters import Position
    from .message import Message, StoredEvent

DEFAULT_RETENTION_BYTES = 256 * 1024 * 1024
DEFAULT_GROUP = "$Default"
_NOT_FOUND = "The messaging entity '{}' could not be found."


class Hub:
    """One event hub: its partitions, and the order in which their events arrived.

    `groups` are the consumer groups besides `$Default`; None takes any name. For
    `offset_prefix` see Broker.
    """

    def __init__(
        self,
        name: str,
        partitions: int,
        retention_bytes: int,
        groups: Iterable[str] | None,
        offset_prefix: str = "",
    ) -> None:
        self.name = name
        self.created_ms = _now_ms()
        self.retention_bytes = retention_bytes
        self._groups = None if groups is None else {DEFAULT_GROUP.lower(), *map(str.lower, groups)}
        self._offset_prefix = offset_prefix
        self._partitions: list[Partition] = []
        self.add_partitions(partitions)
        self._arrivals: deque[Partition] = deque()  # one entry for each event kept
        self._size_bytes = 0
        self._round_robin = 0

    @property
    def partition_ids(self) -> list[str]:
        """The names of the partitions: "0", "1" and so on."""
        return [partition.id for partition in self._partitions]

    @property
    def partitions(self) -> Sequence[Partition]:
        """The partitions, in the order of their numbers."""
        return tuple(self._partitions)

    @property
    def size_bytes(self) -> int:
        """How many bytes of encoded events are kept."""
        return self._size_bytes

    def partition(self, partition_id: str) -> Partition:
        """Return a partition; raises RefusedError if the hub has none of that name."""
        for partition in self._partitions:
            if partition.id == partition_id:
                return partition
        raise RefusedError(
            ARGUMENT_OUT_OF_RANGE,
            f"The specified partition is invalid for an EventHub partition sender or receiver. "
            f"It should be between 0 and {len(self._partitions) - 1}.",
        )

    def check_group(self, group: str) -> None:
        """Raise RefusedError if there is no such consumer group; names ignore case."""
        if self._groups is not None and group.lower() not in self._groups:
            entity = f"{self.name}/ConsumerGroups/{group}"
            raise RefusedError(NOT_FOUND, _NOT_FOUND.format(entity))

    def add_partitions(self, count: int) -> None:
        """Give the hub more partitions."""
        start = len(self._partitions)
        self._partitions += [
            Partition(self.name, str(start + number), self._offset_prefix)
            for number in range(count)
        ]

    def renewed(self, partitions: int | None = None, *, keep_creation_time: bool = False) -> Hub:
        """Return an empty hub of the same name and groups, created later than this one.

        Its sequence numbers and offsets begin at 0. `partitions` is how many it has, None for
        as many as this one. `keep_creation_time` gives it this one's creation time.
        """
        count = len(self._partitions) if partitions is None else partitions
        hub = Hub(self.name, count, self.retention_bytes, self._groups, self._offset_prefix)
        hub.created_ms = max(hub.created_ms, self.created_ms + 1)
        if keep_creation_time:
            hub.created_ms = self.created_ms
        return hub

    def route(self, partition_key: bytes | None) -> Partition:
        """Choose a partition: by the key if there is one, otherwise each in its turn."""
        if partition_key is not None:
            return self._partitions[crc32(partition_key) % len(self._partitions)]
        self._round_robin += 1
        return self._partitions[(self._round_robin - 1) % len(self._partitions)]

    def append(self, partition: Partition, arrived: Message) -> StoredEvent:
        """Add a message to a partition, dropping the hub's oldest events to make room."""
        event = partition.append(arrived, _now_ms())
        self._arrivals.append(partition)
        self._size_bytes += len(event.encoded)
        while self._size_bytes > self.retention_bytes and len(self._arrivals) > 1:
            self._size_bytes -= self._arrivals.popleft().drop_oldest()
        return event


class Broker:
    """All hubs of a namespace. Its methods may be called from any thread.

    `hubs` tells the number of partitions by hub, `retention_bytes` how many bytes of
    encoded events each hub keeps (the newest one always), `groups` the consumer groups besides
    `$Default`, None for any. `offset_prefix` comes before the number in each offset: with "1:2:"
    offsets are "1:2:0" and so on, texts that are not numbers, like those of a geo-replicated hub.
    """

    def __init__(
        self,
        hubs: Mapping[str, int],
        *,
        retention_bytes: int = DEFAULT_RETENTION_BYTES,
        groups: Iterable[str] | None = None,
        offset_prefix: str = "",
    ) -> None:
        kept_groups = None if groups is None else list(groups)
        self.lock = threading.RLock()
        self._hubs = {
            name.lower(): Hub(name, partitions, retention_bytes, kept_groups, offset_prefix)
            for name, partitions in hubs.items()
        }

    @property
    def hubs(self) -> Sequence[Hub]:
        """All hubs."""
        return tuple(self._hubs.values())

    def hub(self, name: str) -> Hub:
        """Return a hub; names ignore case. Raises RefusedError if there is none."""
        try:
            return self._hubs[name.lower()]
        except KeyError:
            raise RefusedError(NOT_FOUND, _NOT_FOUND.format(name)) from None

    def add_partitions(self, hub: str, count: int) -> None:
        """Give a hub more partitions; clients see them when they ask again."""
        with self.lock:
            self.hub(hub).add_partitions(count)

    def recreate(
        self, hub: str, partitions: int | None = None, *, keep_creation_time: bool = False
    ) -> None:
        """Delete a hub with its events and make it anew under its name; see Hub.renewed.

        Open receivers stay on the partitions that were deleted: Faults.recreate detaches them.
        """
        with self.lock:
            old = self.hub(hub)
            self._hubs[hub.lower()] = old.renewed(partitions, keep_creation_time=keep_creation_time)

    def fail_over(self, *, keep_creation_time: bool = False) -> None:
        """Have an empty hub stand for each hub, as after a failover without the data.

        Azure's geo-disaster recovery replicates the entities of a namespace, not the events
        (https://learn.microsoft.com/azure/event-hubs/event-hubs-geo-dr): the alias then names
        another namespace, whose hubs have creation times of their own.
        """
        with self.lock:
            for hub in self.hubs:
                self.recreate(hub.name, keep_creation_time=keep_creation_time)

    def publish(
        self,
        hub: str,
        partition: str | None,
        bodies: Iterable[bytes],
        *,
        partition_key: str | None = None,
    ) -> list[int]:
        """Publish events without AMQP; return their sequence numbers.

        Without a partition they go where the key, if any, sends them, otherwise round-robin.
        """
        messages = (message.of_body(body, partition_key) for body in bodies)
        return [event.sequence_number for event in self.store(hub, partition, messages)]

    def store(
        self, hub: str, partition_id: str | None, messages: Iterable[Message]
    ) -> list[StoredEvent]:
        """Add messages to a hub and tell the subscribers of the partitions they went to."""
        touched: set[Callable[[], None]] = set()
        stored = []
        with self.lock:
            target = self.hub(hub)
            fixed = None if partition_id is None else target.partition(partition_id)
            for arrived in messages:
                partition = target.route(arrived.partition_key) if fixed is None else fixed
                stored.append(target.append(partition, arrived))
                touched |= partition.subscribers
        for notify in touched:
            notify()
        return stored

    def subscribe(self, partition: Partition, notify: Callable[[], None]) -> None:
        """Call `notify` whenever a partition has got events, in the thread that published them."""
        with self.lock:
            partition.subscribers.add(notify)

    def unsubscribe(self, partition: Partition, notify: Callable[[], None]) -> None:
        """End what `subscribe` began."""
        with self.lock:
            partition.subscribers.discard(notify)

    def locate(self, partition: Partition, position: Position) -> int:
        """Return the sequence number of the first event at a position; see Partition.locate."""
        with self.lock:
            return partition.locate(position)

    def read(
        self, partition: Partition, sequence_number: int, max_events: int, max_bytes: int
    ) -> list[StoredEvent]:
        """Return events from a sequence number on: at most so many, stopping above `max_bytes`."""
        events: list[StoredEvent] = []
        with self.lock:
            while len(events) < max_events and max_bytes > 0:
                event = partition.read(sequence_number)
                if event is None:
                    break
                events.append(event)
                max_bytes -= len(event.encoded)
                sequence_number = event.sequence_number + 1
        return events


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
