"""The audit events in flight: bounded by count and by bytes, settled when they are done.

An event is in flight from the moment it is admitted until its outcome is known:
while it waits in the queue, while it is being posted, while it is held because
Falco is away, while it is in doubt, and while its dead letter is being written.
When there is no room the intake waits, then the receiver waits, and the backlog
stays where it is safe: in Event Hubs.
"""

import time
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

import trio

from ..model import Item, Outcome
from ..ops.metrics import OutcomeMetrics

MAX_EVENTS = 65_536
"""Audit events in flight at most, whatever their size. Around each event there are about 700 bytes
of bookkeeping, which INFLIGHTMAXBYTES does not count: this bounds them."""

_raw = attrgetter("event.raw")
_ticket = attrgetter("ticket")


class InFlight:
    """What a destination has taken on and not yet finished.

    Args:
        max_bytes: Bytes of audit events; there is room while less than that is in flight.
        metrics: What became of events is counted here.
        max_events: Audit events; there is room while fewer than that are in flight.
    """

    def __init__(
        self, max_bytes: int, metrics: OutcomeMetrics, max_events: int = MAX_EVENTS
    ) -> None:
        self.max_bytes = max_bytes
        self.max_events = max_events
        self._metrics = metrics
        self._waiting_for_room = trio.lowlevel.ParkingLot()
        self._empty = trio.Event()
        self._empty.set()
        self.events = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether `room` would wait now."""
        return self.events >= self.max_events or self.bytes >= self.max_bytes

    async def room(self) -> None:
        """Wait until there is room."""
        while self.full:
            await self._waiting_for_room.park()

    def admit(self, items: Sequence[Item]) -> int:
        """Take events on, at once; returns their bytes.

        The events of a hub event are admitted together, so the bound may be passed by one
        hub event, once.
        """
        size = sum(map(len, map(_raw, items)))
        self._add(len(items), size)
        return size

    def admit_copy(self) -> None:
        """Take on a copy that is done with its first one: an event without bytes of its own."""
        self._add(1, 0)

    def settle_copy(self) -> None:
        """Note that a copy is done, and give its room back."""
        self._remove(1, 0)

    def _add(self, events: int, size: int) -> None:
        self.events += events
        self.bytes += size
        if self.events and self._empty.is_set():
            self._empty = trio.Event()

    def _remove(self, events: int, size: int) -> None:
        self.events -= events
        self.bytes -= size
        if not self.full:
            self._waiting_for_room.unpark_all()
        if self.events == 0:
            self._empty.set()

    def accepted(self, items: Sequence[Item]) -> None:
        """Note that the endpoint took events, which are not yet settled."""
        self._metrics.delay_seconds.observe(max(0.0, time.time() - items[-1].enqueued_at))

    def settle(self, items: Sequence[Item], outcome: Outcome) -> None:
        """Note what became of events, in the ledger and the metrics, and give their room back."""
        for ticket, settled in Counter(map(_ticket, items)).items():
            ticket.settle(settled)
        self._remove(len(items), sum(map(len, map(_raw, items))))
        self._count(items, outcome)

    def _count(self, items: Sequence[Item], outcome: Outcome) -> None:
        metrics = self._metrics
        metrics.by_outcome.labels(outcome).inc(len(items))
        if outcome is Outcome.DELIVERED:
            metrics.success.inc(len(items))
        else:
            metrics.errors.inc(len(items))

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._empty.wait()
