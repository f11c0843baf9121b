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

    `groups` are the consumer groups besides `$Default`; None takes any name.
    """

    def __init__(
        self, name: str, partitions: int, retention_bytes: int, groups: Iterable[str] | None
    ) -> None:
        self.name = name
        self.created_ms = _now_ms()
        self.retention_bytes = retention_bytes
        self._groups = None if groups is None else {DEFAULT_GROUP.lower(), *map(str.lower, groups)}
        self._partitions = [Partition(name, str(number)) for number in range(partitions)]
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
        self._partitions += [Partition(self.name, str(start + number)) for number in range(count)]

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
    `$Default`, None for any.
    """

    def __init__(
        self,
        hubs: Mapping[str, int],
        *,
        retention_bytes: int = DEFAULT_RETENTION_BYTES,
        groups: Iterable[str] | None = None,
    ) -> None:
        kept_groups = None if groups is None else list(groups)
        self.lock = threading.RLock()
        self._hubs = {
            name.lower(): Hub(name, partitions, retention_bytes, kept_groups)
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
