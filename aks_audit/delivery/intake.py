"""Hub events into the destinations: prepared, noted in the ledger, counted.

Between the ledger and the channels nothing waits. An entry that was opened without its
events going on, because the session ended in between, would block its partition's
checkpoint for good.

A hub event waits for room in the destinations that it has events for, and for nothing else. What is
for other destinations is delivered meanwhile, however far that is ahead of the partition's
checkpoint: the ledger merges what is done, so its memory is bounded by what is in flight.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import trio

from ..audit.event import summarise
from ..audit.steps import Steps, step
from ..checkpoints.ledger import Entry, PartitionLedger
from ..config.routes import DEFAULT
from ..config.settings import EventsConfig
from ..model import AuditEvent, HubEvent, Item, Skipped
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import IntakeMetrics
from .arrivals import Arrivals
from .dedup import Window, key_of
from .destination import Destination
from .prepare import Preparation, Prepared

T = TypeVar("T")

log = get_logger("intake")

STEP_S = 30.0
"""How long one hub event may take, waiting for room aside, before the intake counts as stalled."""


class Intake:
    """What happens to a hub event when it arrives.

    Args:
        config: What is done to audit events.
        destinations: By name of their route; the default one is among them.
        metrics: Counts what arrives.
        max_event_bytes: Bytes of one audit event; a larger one becomes a dead letter.
        log_events: Whether each audit event is logged, at debug level.
    """

    def __init__(
        self,
        config: EventsConfig,
        destinations: Mapping[str, Destination],
        metrics: IntakeMetrics,
        *,
        max_event_bytes: int,
        log_events: bool,
    ) -> None:
        self._preparation = Preparation(config, max_event_bytes)
        self._destinations = destinations
        self._window = Window(config.dedup_window) if config.dedup_window else None
        self._arrivals = Arrivals(metrics)
        self._log_events = log_events
        self.heartbeat = Heartbeat(trio.current_time)

    async def forward(self, ledger: PartitionLedger, event: HubEvent) -> None:
        """Send a hub event's audit events on, as soon as there is room for them.

        Args:
            ledger: Of the claim under which the hub event was read.
            event: The next hub event of the partition, or one that was delivered again.
        """
        if event.position.sequence_number <= ledger.seen:
            self._arrivals.redelivered()
            return
        self.heartbeat.expect(within_s=STEP_S)
        self._arrivals.received(event)
        prepared = await _in_turns(self._preparation.prepare(event))
        for name in prepared.needed:
            self.heartbeat.rest()
            await self._destinations[name].in_flight.room()
        if not ledger.cut_off:  # else a new claim brings the event again
            self.heartbeat.expect(within_s=STEP_S)
            self._commit(ledger, event, prepared)
        self.heartbeat.rest()

    def _commit(self, ledger: PartitionLedger, event: HubEvent, prepared: Prepared) -> None:
        """Open the hub event in the ledger and put its events into their channels, at once."""
        missing = event.position.sequence_number - ledger.seen - 1
        entry = ledger.open(event, prepared.records)
        if entry is None:  # delivered again, which `forward` has seen
            return
        if missing:
            self._arrivals.gap(event, missing)
        self._arrivals.skipped(prepared)
        self._dead_letter(event, entry, prepared.faults)
        for name, events in prepared.by_route.items():
            fresh = self._fresh(name, events, entry)
            items = [Item(each, entry, event.enqueued_at) for each in fresh]
            self._arrivals.forwarded(items)
            if self._log_events:
                _log(items)
            self._destinations[name].channel.put(items)

    def _fresh(self, route: str, events: Sequence[AuditEvent], entry: Entry) -> list[AuditEvent]:
        """The events that came for the first time; a copy settles, or follows its first one."""
        window = self._window
        if window is None:
            return list(events)
        fresh: list[AuditEvent] = []
        for event in events:
            first = window.meet(key_of(event, route), entry)
            if first is None:
                fresh.append(event)
                continue
            self._arrivals.duplicate(event)
            if first is not entry and first.open:
                in_flight = self._destinations[route].in_flight
                in_flight.admit_copy()
                entry.follow(first, in_flight.settle_copy)
            else:
                entry.settle()
        return fresh

    def _dead_letter(self, event: HubEvent, entry: Entry, faults: Sequence[Skipped]) -> None:
        """Have what may hide an audit event kept."""
        destination = self._destinations[DEFAULT]
        for fault in faults:
            kept = AuditEvent(fault.raw, fault.audit_id, "")
            item = Item(kept, entry, event.enqueued_at)
            destination.in_flight.admit([item])
            destination.letters.put(item, fault.reason, fault.detail)


async def _in_turns(steps: Steps[T]) -> T:
    """Do the steps; between two of them all other tasks have their turn."""
    while (done := step(steps)) is None:
        await trio.lowlevel.checkpoint()
    return done.result


def _log(items: Sequence[Item]) -> None:
    for item in items:
        where = item.where()
        log.debug("audit event", **where, cluster=item.event.cluster, **summarise(item.event))
