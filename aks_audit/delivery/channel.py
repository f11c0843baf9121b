"""The bounded channel between the receiver and the senders.

Its room counts events *and* bytes, and covers an item from the moment it is
sent until it is settled: what waits, what is being posted, and what is held
while Falco is away. A full channel makes `send` wait, which makes the receiver
wait, which leaves the backlog where it is safe: in Event Hubs.

A trio memory channel counts items only and hands them out one by one; here a
receiver takes, in one step, a batch of whatever is waiting.
"""

import math
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

import trio

from ..model import Item

MAX_EVENTS = 65_536
"""Audit events in flight at most, whatever their size: with all the bookkeeping
around an event (about 700 bytes) this bounds what INFLIGHTMAXBYTES does not count."""


_raw = attrgetter("event.raw")


class EndOfChannel(Exception):  # noqa: N818 - trio's own name for it
    """The channel is closed and empty."""


class Channel:
    """A queue of items, bounded by events and bytes in flight."""

    def __init__(self, max_bytes: int, max_events: int = MAX_EVENTS) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._items: deque[Item] = deque()
        self._senders = trio.lowlevel.ParkingLot()
        self._receivers = trio.lowlevel.ParkingLot()
        self._idle = trio.Event()
        self._idle.set()
        self._closed = False
        self._waiting_bytes = 0
        self._taken_at = -math.inf
        self._pacing = False
        self._pacer = trio.lowlevel.ParkingLot()
        self._enough = (1, 1)
        self.events_in_flight = 0
        self.bytes_in_flight = 0

    @property
    def waiting(self) -> int:
        """How many items no sender has taken yet."""
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether a `send` would wait now."""
        return self.events_in_flight >= self._max_events or self.bytes_in_flight >= self._max_bytes

    async def send(self, items: Sequence[Item]) -> None:
        """Put the items of one hub event in, as soon as there is room."""
        if items:
            await self.room()
            self.put(items)

    async def room(self) -> None:
        """Wait until there is room: while less than the bound is in flight."""
        while self.full:
            await self._senders.park()

    def admit(self, items: Sequence[Item]) -> int:
        """Count items as in flight; returns their bytes.

        By itself it is for what goes another way than through the queue.
        """
        size = sum(map(len, map(_raw, items)))
        self.events_in_flight += len(items)
        self.bytes_in_flight += size
        if items and self._idle.is_set():
            self._idle = trio.Event()
        return size

    def put(self, items: Sequence[Item]) -> None:
        """Put the items of one hub event in, at once.

        A hub event goes in whole, so the bound may be passed by one hub event, once.
        """
        if not items:
            return
        self._items.extend(items)
        self._waiting_bytes += self.admit(items)
        if not self._pacing:
            self._receivers.unpark()
        elif (
            self.full
            or len(self._items) >= self._enough[0]
            or self._waiting_bytes >= self._enough[1]
        ):
            self._pacer.unpark()

    async def take(self, max_events: int, max_bytes: int, *, pace_s: float = 0.0) -> list[Item]:
        """Wait for an item, then take whatever else is waiting, up to the bounds.

        Always takes at least one, even one that is larger than ``max_bytes``.
        What does not fill a batch is taken ``pace_s`` after the last batch at
        the earliest: after a rest at once, in a steady stream that often.
        Raises EndOfChannel.
        """
        while self._pacing or not self._items:
            if self._closed and not self._items:
                raise EndOfChannel
            await self._receivers.park()
        await self._keep_pace(max_events, max_bytes, pace_s)
        self._taken_at = trio.current_time()
        if len(self._items) <= max_events and self._waiting_bytes + len(self._items) <= max_bytes:
            batch = list(self._items)
            self._items.clear()
            self._waiting_bytes = 0
        else:
            batch = self._take_some(max_events, max_bytes)
        if self._closed:
            self._receivers.unpark_all()
        elif self._items:
            self._receivers.unpark()
        return batch

    async def _keep_pace(self, max_events: int, max_bytes: int, pace_s: float) -> None:
        """Wait until the next batch is due: full, or late enough after the last one."""
        self._pacing = True
        try:
            with trio.move_on_at(self._taken_at + pace_s):
                while not (
                    self._closed
                    or self.full
                    or len(self._items) >= max_events
                    or self._waiting_bytes >= max_bytes
                    or trio.current_time() >= self._taken_at + pace_s
                ):
                    # One receiver waits here for all: who puts wakes nobody until it is enough.
                    self._enough = max_events, max_bytes
                    await self._pacer.park()
        except trio.Cancelled:
            self._receivers.unpark()
            raise
        finally:
            self._pacing = False

    def _take_some(self, max_events: int, max_bytes: int) -> list[Item]:
        batch = [self._items.popleft()]
        size = len(batch[0].event.raw)
        while self._items and len(batch) < max_events:
            # One byte more for the comma that joins it to the batch.
            more = len(self._items[0].event.raw)
            if size + len(batch) + more > max_bytes:
                break
            batch.append(self._items.popleft())
            size += more
        self._waiting_bytes -= size
        return batch

    def settle(self, items: Sequence[Item]) -> None:
        """Give back the room of items that are done."""
        self.events_in_flight -= len(items)
        self.bytes_in_flight -= sum(map(len, map(_raw, items)))
        if not self.full:
            self._senders.unpark_all()
        if self.events_in_flight == 0:
            self._idle.set()

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    def close(self) -> None:
        """Let the receivers end once they have taken what is waiting."""
        self._closed = True
        self._pacer.unpark_all()
        self._receivers.unpark_all()
