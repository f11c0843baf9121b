"""The queue between the intake and the senders, and the pace at which it is emptied.

A trio memory channel counts items only and hands them out one by one. Here a
sender takes, in one step, a batch of whatever is waiting; how much may wait is
bounded by what may be in flight (`InFlight`).

One sender at a time waits for the next batch, the others queue behind it. So
`put` has one task to wake, and wakes it only when there is enough for a batch.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence

import trio

from ..model import Item
from .inflight import InFlight

PACE_S = 0.05
"""Between two batches that are not full, of all senders. A POST costs as much as handling some 100
events (bench), so a steady stream is worth 25 ms of waiting on average."""


class Channel:
    """A queue of audit events, from which batches are taken.

    Args:
        in_flight: Where what is put in is admitted.
        max_events: Events in a batch.
        max_bytes: Bytes in a batch, with a comma between two events; a larger event is a batch
            of its own.
    """

    def __init__(self, in_flight: InFlight, *, max_events: int, max_bytes: int) -> None:
        self._in_flight = in_flight
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._turn = trio.Lock()
        self._taker = trio.lowlevel.ParkingLot()
        self._taker_needs = self._something
        self._taken_at = -math.inf
        self.overtaken: Callable[[], bool] = lambda: False
        """Whether something else has to be posted before what is in the queue."""

    def put(self, items: Sequence[Item]) -> None:
        """Put the events of one hub event in, at once: whoever has to wait for room waits before.

        Raises nothing, and wakes at most one sender.
        """
        self._items.extend(items)
        self._bytes += self._in_flight.admit(items)
        self.wake()

    def wake(self) -> None:
        """Wake a sender that waits, if there is a reason to."""
        if self._taker_needs():
            self._taker.unpark()

    def waiting(self) -> bool:
        """Whether an event waits."""
        return bool(self._items)

    async def take(self) -> list[Item]:
        """Wait for an event, then take whatever else is waiting, up to a batch.

        A batch that is not full is taken `PACE_S` after the last one at the earliest: after a
        rest at once, in a steady stream that often.

        Returns:
            No event where something else has to be posted before.
        """
        async with self._turn:
            await self._wait_for(self._something)
            with trio.move_on_at(self._taken_at + PACE_S):
                await self._wait_for(self._enough)
            if self.overtaken():
                return []
            self._taken_at = trio.current_time()
            return self._batch()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        self._taker_needs = condition
        while not condition():
            await self._taker.park()

    def _something(self) -> bool:
        return bool(self._items) or self.overtaken()

    def _enough(self) -> bool:
        """Whether a batch is full, or nothing more can come before it is delivered."""
        return (
            len(self._items) >= self._max_events
            or self._bytes >= self._max_bytes
            or self._in_flight.full
            or self.overtaken()
        )

    def _batch(self) -> list[Item]:
        commas = len(self._items)
        if len(self._items) <= self._max_events and self._bytes + commas <= self._max_bytes:
            batch = list(self._items)
            self._items.clear()
            self._bytes = 0
            return batch
        return self._part()

    def _part(self) -> list[Item]:
        batch = [self._items.popleft()]
        size = len(batch[0].event.raw)
        while self._items and len(batch) < self._max_events:
            more = len(self._items[0].event.raw)
            if size + len(batch) + more > self._max_bytes:  # one byte for each comma
                break
            batch.append(self._items.popleft())
            size += more
        self._bytes -= size
        return batch
