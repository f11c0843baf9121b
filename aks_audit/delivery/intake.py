"""Hub events into the lanes: unpacked, sifted, noted in the ledger, counted.

Between the ledger and the channels nothing waits: an entry that was opened
without its items going on, because the session ended in between, would block
its partition's checkpoint for good.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter

import msgspec
import trio

from ..audit.annotate import annotate
from ..audit.event import summarise
from ..audit.unpack import unpack
from ..checkpoints.ledger import Entry, PartitionLedger
from ..config.routes import DEFAULT, Router
from ..config.settings import EventsConfig
from ..model import FAULTS, AuditEvent, HubEvent, Item, Skip, Skipped
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import IntakeMetrics
from .dedup import Window, key_of
from .destination import Lane

log = get_logger("intake")

STEP_S = 30.0
"""How long one hub event may take, room aside, before the intake counts as stalled."""
OPEN_MAX = 10_000
"""Hub events of a partition behind one that is not done, a dead letter that its store does not
take for example: they are delivered, but no checkpoint can pass, so they cost memory, and
duplicates after a crash."""
OPEN_PAUSE_S = 0.2
"""Between two looks whether the partition's checkpoint has moved on."""
CLUSTERS_MAX = 100
"""Clusters that have metrics of their own; further ones share the label "other"."""


class Intake:
    """What becomes of a hub event when it arrives."""

    def __init__(
        self,
        config: EventsConfig,
        lanes: Mapping[str, Lane],
        metrics: IntakeMetrics,
        *,
        max_event_bytes: int,
        log_events: bool,
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._router = Router(config.routes)
        self._window = Window(config.dedup_window) if config.dedup_window else None
        self._metrics = metrics
        self._max_event_bytes = max_event_bytes
        self._log_events = log_events
        self._clusters: set[str] = set()
        # Looking up a metric's labels costs as much as unpacking an event.
        self._received = cache(
            lambda partition: (
                metrics.hub_events.labels(partition),
                metrics.hub_bytes.labels(partition),
            )
        )
        self._forwarded = cache(lambda cluster: metrics.clusters.labels(cluster, "forwarded"))
        self.heartbeat = Heartbeat(trio.current_time)

    async def forward(self, ledger: PartitionLedger, event: HubEvent) -> None:
        """Send a hub event's audit events on as soon as there is room for them."""
        if event.position.sequence_number <= ledger.seen:
            self._metrics.redelivered.inc()
            return
        self.heartbeat.expect(within_s=STEP_S)
        hub_events, hub_bytes = self._received(event.partition)
        hub_events.inc()
        hub_bytes.inc(len(event.body))
        events, skipped = self._sift(event)
        by_lane = self._router.sort(events)
        for name in self._needed(by_lane, skipped):
            self.heartbeat.rest()
            await self._lanes[name].channel.room()
        while ledger.open_hub_events >= OPEN_MAX and not ledger.cut_off:
            self.heartbeat.rest()
            await trio.sleep(OPEN_PAUSE_S)
        if not ledger.cut_off:  # else a new claim brings the event again
            self.heartbeat.expect(within_s=STEP_S)
            self._commit(ledger, event, by_lane, skipped)
            self.heartbeat.rest()

    def _needed(
        self, by_lane: Mapping[str, Sequence[AuditEvent]], skipped: Sequence[Skipped]
    ) -> Collection[str]:
        """The lanes that have to have room: the dead letters of all go by the default one."""
        if any(skip.reason in FAULTS for skip in skipped):
            return {DEFAULT, *by_lane}
        return by_lane

    def _sift(self, event: HubEvent) -> tuple[Sequence[AuditEvent], Sequence[Skipped]]:
        """The audit events to forward, and what is skipped."""
        received = datetime.fromtimestamp(event.enqueued_at, UTC).isoformat()
        events, skipped = unpack(event.body, received=received, mend_cut=self._config.salvage)
        limit = self._max_event_bytes
        if self._config.annotate_cluster:
            events = [_name_cluster(audit_event, limit) for audit_event in events]
        # Mending makes an event three times as long at most (U+FFFD for each byte), and salvage
        # adds two times and a mark: of most bodies no event need be measured.
        if 4 * len(event.body) > limit and any(len(each.raw) > limit for each in events):
            skipped += [_too_large(each, limit) for each in events if len(each.raw) > limit]
            events = [each for each in events if len(each.raw) <= limit]
        return events, skipped

    def _commit(
        self,
        ledger: PartitionLedger,
        event: HubEvent,
        by_lane: Mapping[str, Sequence[AuditEvent]],
        skipped: Sequence[Skipped],
    ) -> None:
        """Open the hub event in the ledger and put its events into their lanes, at once."""
        missing = event.position.sequence_number - ledger.seen - 1
        broken = [skip for skip in skipped if skip.reason in FAULTS]
        ticket = ledger.open(event, sum(map(len, by_lane.values())) + len(broken))
        if ticket is None:  # redelivered, which `forward` has seen
            return
        if missing:
            self._report_gap(event, missing)
        for skip in skipped:
            self._metrics.skipped.labels(skip.reason).inc()
        self._bury(event, ticket, broken)
        for name, events in by_lane.items():
            fresh = self._fresh(name, events, ticket)
            items = [Item(each, ticket, event.enqueued_at) for each in fresh]
            self._report(items)
            self._lanes[name].channel.put(items)

    def _fresh(
        self, lane: str, events: Sequence[AuditEvent], ticket: Entry
    ) -> Sequence[AuditEvent]:
        """The events that are to be posted; the others are settled, or follow their first copy."""
        filters, window = self._config.filters, self._window
        if filters is None and window is None:
            return events
        fresh: list[AuditEvent] = []
        for event in events:
            if filters is not None and filters.drops(event):
                self._count("filtered", event)
                ticket.settle()
                continue
            first = window.meet(key_of(event, lane), ticket) if window is not None else None
            if first is None:
                fresh.append(event)
                continue
            self._count("duplicate", event)
            if first is not ticket and first.open:
                ticket.follow(first)
            else:
                ticket.settle()
        return fresh

    def _bury(self, event: HubEvent, ticket: Entry, broken: Sequence[Skipped]) -> None:
        """Have what may hide an audit event kept as dead letters."""
        lane = self._lanes[DEFAULT]
        for skip in broken:
            raw = AuditEvent(skip.raw, skip.audit_id, "")
            item = Item(raw, ticket, event.enqueued_at)
            lane.channel.admit([item])
            lane.undeliverable.put(item, skip.reason, skip.detail)

    def _report(self, items: Sequence[Item]) -> None:
        """Count the events that go on, and log what is worth a line."""
        for cluster, count in Counter(map(_cluster, items)).items():
            self._forwarded(self._label(cluster)).inc(count)
        for item in items:
            if item.event.salvaged:
                self._count("salvaged", item.event)
                log.warning(
                    "rebuilt an audit event that came cut",
                    audit_id=item.event.audit_id,
                    **_where(item),
                )
        if self._log_events:
            for item in items:
                log.debug("audit event", **_where(item), **summarise(item.event))

    def _count(self, kind: str, event: AuditEvent) -> None:
        metric = {
            "salvaged": self._metrics.salvaged,
            "duplicate": self._metrics.duplicates,
            "filtered": self._metrics.filtered,
        }[kind]
        metric.inc()
        self._metrics.clusters.labels(self._label(event.cluster), kind).inc()

    def _label(self, cluster: str) -> str:
        if cluster not in self._clusters:
            if len(self._clusters) >= CLUSTERS_MAX:
                return "other"
            self._clusters.add(cluster)
        return cluster

    def _report_gap(self, event: HubEvent, missing: int) -> None:
        """Say that events are missing: retention took them before we came."""
        self._metrics.gaps.labels(event.partition).inc(missing)
        log.error(
            "events are missing before this one: they outlived the hub's retention",
            partition=event.partition,
            sequence_number=event.position.sequence_number,
            missing=missing,
        )


_cluster = attrgetter("event.cluster")


def _where(item: Item) -> dict[str, str | int]:
    return {
        "partition": item.ticket.partition,
        "sequence_number": item.ticket.position.sequence_number,
        "cluster": item.event.cluster,
    }


def _name_cluster(event: AuditEvent, limit: int) -> AuditEvent:
    if not event.cluster:
        return event
    named = annotate(event.raw, event.cluster)
    # Better an event without its cluster than one that Falco does not take for its name.
    return event if len(named) > limit else msgspec.structs.replace(event, raw=named)


def _too_large(event: AuditEvent, limit: int) -> Skipped:
    detail = f"{len(event.raw)} bytes; Falco drops events over {limit}"
    return Skipped(Skip.TOO_LARGE, event.category, 0, detail, event.raw, event.audit_id)
