"""The bounded channel between the receiver and the senders.

Its room counts events *and* bytes, and covers an item from the moment it is
sent until it is settled: what waits, what is being posted, and what is held
while Falco is away. A full channel makes `send` wait, which makes the receiver
wait, which leaves the backlog where it is safe: in Event Hubs.

A trio memory channel counts items only and hands them out one by one; here a
receiver takes, in one step, a batch of whatever is waiting.
"""

from collections import deque
from collections.abc import Sequence

import trio

from .model import Item

MAX_EVENTS = 65_536
"""Audit events in flight at most, whatever their size: with all the bookkeeping
around an event (about 700 bytes) this bounds what INFLIGHTMAXBYTES does not count."""


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
        self._out = 0
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

    def admit(self, items: Sequence[Item]) -> None:
        """Count items as in flight that go another way than through the queue."""
        if not items:
            return
        self.events_in_flight += len(items)
        self.bytes_in_flight += sum(len(item.event.raw) for item in items)
        if self._idle.is_set():
            self._idle = trio.Event()

    def put(self, items: Sequence[Item]) -> None:
        """Put the items of one hub event in, at once.

        A hub event goes in whole, so the bound may be passed by one hub event, once.
        """
        if not items:
            return
        self._items.extend(items)
        self.admit(items)
        self._receivers.unpark(count=1)

    async def take(self, max_events: int, max_bytes: int, *, linger_s: float = 0.0) -> list[Item]:
        """Wait for an item, then take whatever else is waiting, up to the bounds.

        Always takes at least one, even one that is larger than ``max_bytes``.
        Never waits for more than the first, unless it is told to linger, which
        is Nagle's rule (RFC 896): while no batch is out, it takes at once; else
        it waits until ``max_events`` are waiting or a batch comes `back`, for
        ``linger_s`` at most. Raises EndOfChannel.
        """
        while True:
            while not self._items:
                if self._closed:
                    raise EndOfChannel
                await self._receivers.park()
            if not linger_s or not self._may_linger(max_events):
                break
            with trio.move_on_after(linger_s) as lingering:
                while self._may_linger(max_events):
                    await self._receivers.park()
            if lingering.cancelled_caught and self._items:
                break
        self._out += 1
        batch = [self._items.popleft()]
        size = len(batch[0].event.raw)
        while self._items and len(batch) < max_events:
            # One byte more for the comma that joins it to the batch.
            size += len(self._items[0].event.raw) + 1
            if size > max_bytes:
                break
            batch.append(self._items.popleft())
        if self._items:
            self._receivers.unpark(count=1)
        return batch

    def _may_linger(self, max_events: int) -> bool:
        return 0 < len(self._items) < max_events and self._out > 0 and not self._closed

    def back(self) -> None:
        """Note that a batch that was taken is posted: nobody lingers for it any more."""
        self._out -= 1
        self._receivers.unpark(count=1)

    def settle(self, items: Sequence[Item]) -> None:
        """Give back the room of items that are done."""
        self.events_in_flight -= len(items)
        self.bytes_in_flight -= sum(len(item.event.raw) for item in items)
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
        self._receivers.unpark_all()
