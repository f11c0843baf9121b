"""Hub events into the lanes: unpacked, sifted, noted in the ledger, counted.

Between the ledger and the channels nothing waits: an entry that was opened
without its items going on, because the session ended in between, would block
its partition's checkpoint for good.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter

import msgspec
import trio

from .annotate import annotate
from .audit import summarise
from .config import EventsConfig
from .dedup import Key, Window, key_of
from .health import Heartbeat
from .lanes import Lane
from .ledger import Entry, PartitionLedger
from .logs import get_logger
from .metrics import Metrics
from .model import FAULTS, AuditEvent, HubEvent, Item, Skip, Skipped
from .routes import DEFAULT, Router
from .unpack import unpack

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
        metrics: Metrics,
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
        self.heartbeat = Heartbeat(trio.current_time)

    async def forward(self, ledger: PartitionLedger, event: HubEvent) -> None:
        """Send a hub event's audit events on as soon as there is room for them."""
        if event.position.sequence_number <= ledger.seen:
            self._metrics.redelivered.inc()
            return
        self.heartbeat.expect(within_s=STEP_S)
        self._metrics.hub_events.labels(event.partition).inc()
        self._metrics.hub_bytes.labels(event.partition).inc(len(event.body))
        events, skipped = self._sift(event)
        by_lane: dict[str, list[AuditEvent]] = {}
        for audit_event in events:
            by_lane.setdefault(self._router.route(audit_event), []).append(audit_event)
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
        self, by_lane: Mapping[str, list[AuditEvent]], skipped: Sequence[Skipped]
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
        if any(len(each.raw) > limit for each in events):
            skipped += [_too_large(each, limit) for each in events if len(each.raw) > limit]
            events = [each for each in events if len(each.raw) <= limit]
        return events, skipped

    def _commit(
        self,
        ledger: PartitionLedger,
        event: HubEvent,
        by_lane: Mapping[str, list[AuditEvent]],
        skipped: Sequence[Skipped],
    ) -> None:
        """Open the hub event in the ledger and put its events into their lanes, at once."""
        missing = event.position.sequence_number - ledger.seen - 1
        fresh, waiting = self._find_duplicates(by_lane)
        broken = [skip for skip in skipped if skip.reason in FAULTS]
        ticket = ledger.open(event, sum(map(len, fresh.values())) + len(waiting) + len(broken))
        if ticket is None:  # redelivered, which `forward` has seen
            return
        if missing:
            self._report_gap(event, missing)
        for first in waiting:
            ticket.follow(first)
        for skip in skipped:
            self._metrics.skipped.labels(skip.reason).inc()
        self._bury(event, ticket, broken)
        for name, audit_events in fresh.items():
            items = [Item(each, ticket, event.enqueued_at) for each in audit_events.values()]
            self._report(items)
            self._lanes[name].channel.put(items)
            if self._window is not None:
                for key in audit_events:
                    self._window.add(key, ticket)

    def _find_duplicates(
        self, by_lane: Mapping[str, list[AuditEvent]]
    ) -> tuple[dict[str, dict[Key, AuditEvent]], list[Entry]]:
        """The events to post, by lane and key; for each copy of an open one, whom to wait for."""
        fresh: dict[str, dict[Key, AuditEvent]] = {}
        waiting: list[Entry] = []
        for name, events in by_lane.items():
            kept = fresh[name] = {}
            filters, window = self._config.filters, self._window
            for number, event in enumerate(events):
                if filters is not None and filters.drops(event):
                    self._count("filtered", event)
                    continue
                key = key_of(event, name) if window is not None else (number, 0)
                first = window.find(key) if window is not None else None
                if first is None and key not in kept:
                    kept[key] = event
                    continue
                self._count("duplicate", event)
                if first is not None and first.open:
                    waiting.append(first)
        return fresh, waiting

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
            self._metrics.clusters.labels(self._label(cluster), "forwarded").inc(count)
        for item in items:
            if item.event.salvaged:
                self._count("salvaged", item.event)
                log.warning(
                    "rebuilt an audit event that came cut",
                    audit_id=item.event.audit_id,
                    **_where(item),
                )
            if self._log_events:
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
