"""One partition: a log of events, and where each position is in it. No I/O.

Not safe for threads by itself: the broker's lock guards it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from . import message
from .errors import ARGUMENT_ERROR, RefusedError
from .filters import Field, Position
from .message import StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from .message import Message

_COMPACT_FROM = 1024  # dropped events; below that the list is not worth rewriting
_GONE = StoredEvent(-1, -1, -1, 0, b"")  # stands where an event has been dropped


class Partition:
    """The events of one partition that are still kept, oldest first.

    Each event is held once, as the bytes that go to every reader. `subscribers` are
    called, in the thread that has published, after events have been appended. For
    `offset_prefix` see Broker.
    """

    def __init__(self, hub: str, partition_id: str, offset_prefix: str = "") -> None:
        self.hub = hub
        self.id = partition_id
        self.offset_prefix = offset_prefix
        self.subscribers: set[Callable[[], None]] = set()
        self.size_bytes = 0
        self._events: list[StoredEvent] = []
        self._dropped = 0  # number of events at the beginning of the list that are gone
        self._next_sequence_number = 0
        self._next_offset = 0
        self._last: StoredEvent | None = None

    def __len__(self) -> int:
        return len(self._events) - self._dropped

    def matches(self, hub: str | None, partition: str | None) -> bool:
        """Tell whether this is a partition of that name in that hub; None stands for any."""
        named = partition is None or partition == self.id
        return named and (hub is None or hub.lower() == self.hub.lower())

    @property
    def next_sequence_number(self) -> int:
        """The sequence number that the next event will get."""
        return self._next_sequence_number

    @property
    def first_sequence_number(self) -> int:
        """The sequence number of the oldest event kept, or of the next one if none is."""
        return self._next_sequence_number - len(self)

    @property
    def last_sequence_number(self) -> int:
        """The sequence number of the newest event ever, -1 if there was none."""
        return self._next_sequence_number - 1

    @property
    def last_event(self) -> StoredEvent | None:
        """The newest event ever, even if it is no longer kept."""
        return self._last

    def offset_of(self, event: StoredEvent) -> str:
        """Return the offset of an event as clients see it."""
        return f"{self.offset_prefix}{event.offset}"

    def append(self, arrived: Message, now_ms: int) -> StoredEvent:
        """Add a message at the end; `now_ms` is in milliseconds since the Unix epoch."""
        event = message.stamp(
            arrived, self._next_sequence_number, self._next_offset, now_ms, self.offset_prefix
        )
        self._events.append(event)
        self._next_sequence_number += 1
        self._next_offset += len(event.encoded)
        self.size_bytes += len(event.encoded)
        self._last = event
        return event

    def drop_oldest(self) -> int:
        """Drop the oldest event; return how many bytes that freed."""
        freed = len(self._events[self._dropped].encoded)
        self._events[self._dropped] = _GONE
        self._dropped += 1
        self.size_bytes -= freed
        self._compact()
        return freed

    def _compact(self) -> None:
        """Shorten the list, but only now and then, so that dropping an event stays cheap."""
        if self._dropped >= min(_COMPACT_FROM, len(self._events)):
            del self._events[: self._dropped]
            self._dropped = 0

    def read(self, sequence_number: int) -> StoredEvent | None:
        """Return the event of that number, the oldest kept if it is gone, None if not yet there."""
        index = max(sequence_number - self.first_sequence_number, 0) + self._dropped
        return self._events[index] if index < len(self._events) else None

    def locate(self, position: Position) -> int:
        """Return the sequence number of the first event at a position.

        Raises RefusedError for a sequence number or an offset above the last one, as the
        service does ("The supplied sequence number '488' is invalid. The last sequence number
        in the system is '482'").
        """
        if position.field is Field.EARLIEST:
            return self.first_sequence_number
        if position.field is Field.LATEST:
            return self._next_sequence_number
        if position.field is Field.SEQUENCE_NUMBER:
            self._check(position, self.last_sequence_number, "sequence number")
            return max(position.value + (not position.inclusive), self.first_sequence_number)
        if position.field is Field.OFFSET:
            last_offset = -1 if self._last is None else self._last.offset
            self._check(position, last_offset, "offset")
            return self._search(position, lambda event: event.offset)
        return self._search(position, lambda event: event.enqueued_ms)

    @staticmethod
    def _check(position: Position, last: int, name: str) -> None:
        if position.value > last + position.inclusive:
            raise RefusedError(
                ARGUMENT_ERROR,
                f"The supplied {name} '{position.value}' is invalid. "
                f"The last {name} in the system is '{last}'",
            )

    def _search(self, position: Position, key: Callable[[StoredEvent], int]) -> int:
        bisect = bisect_left if position.inclusive else bisect_right
        index = bisect(self._events, position.value, lo=self._dropped, key=key)
        return self.first_sequence_number + index - self._dropped
