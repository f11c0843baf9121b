"""What the metrics and the log say of hub events and audit events that arrive."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from operator import attrgetter

from ..model import AuditEvent, HubEvent, Item
from ..ops.escapes import printable
from ..ops.logs import get_logger
from ..ops.metrics import IntakeMetrics
from .prepare import Prepared

log = get_logger("intake")

CLUSTERS_MAX = 100
"""Clusters that have metrics of their own; further ones share the label "other"."""

_cluster = attrgetter("event.cluster")
_reason = attrgetter("reason")


class Arrivals:
    """Counts and logs what arrives."""

    def __init__(self, metrics: IntakeMetrics) -> None:
        self._metrics = metrics
        self._clusters: set[str] = set()
        # Looking up a metric's labels costs as much as unpacking an event.
        self._of_partition = cache(
            lambda partition: (
                metrics.hub_events.labels(partition),
                metrics.hub_bytes.labels(partition),
            )
        )
        self._of_cluster = cache(metrics.clusters.labels)

    def redelivered(self) -> None:
        """A hub event came that was there before."""
        self._metrics.redelivered.inc()

    def received(self, event: HubEvent) -> None:
        """A hub event came."""
        hub_events, hub_bytes = self._of_partition(event.partition)
        hub_events.inc()
        hub_bytes.inc(len(event.body))

    def gap(self, event: HubEvent, missing: int) -> None:
        """Hub events are missing before this one: retention took them before we came."""
        self._metrics.gaps.labels(event.partition).inc(missing)
        log.error(
            "events are missing before this one: they outlived the hub's retention",
            partition=event.partition,
            sequence_number=event.position.sequence_number,
            missing=missing,
        )

    def skipped(self, prepared: Prepared) -> None:
        """Records of a hub event are not forwarded."""
        for reason, count in Counter(map(_reason, [*prepared.ignored, *prepared.faults])).items():
            self._metrics.skipped.labels(reason).inc(count)
        for event in prepared.filtered:
            self._metrics.filtered.inc()
            self._count(event, "filtered")

    def duplicate(self, event: AuditEvent) -> None:
        """An audit event came that had come before."""
        self._metrics.duplicates.inc()
        self._count(event, "duplicate")

    def forwarded(self, items: Sequence[Item]) -> None:
        """Audit events go on to Falco."""
        for cluster, count in Counter(map(_cluster, items)).items():
            self._of_cluster(self._label(cluster), "forwarded").inc(count)
        for item in items:
            if item.event.salvaged:
                self._metrics.salvaged.inc()
                self._count(item.event, "salvaged")
                log.warning(
                    "rebuilt an audit event that came cut",
                    audit_id=item.event.audit_id,
                    cluster=item.event.cluster,
                    **item.where(),
                )

    def _count(self, event: AuditEvent, kind: str) -> None:
        self._of_cluster(self._label(event.cluster), kind).inc()

    def _label(self, cluster: str) -> str:
        cluster = printable(cluster)
        if cluster not in self._clusters:
            if len(self._clusters) >= CLUSTERS_MAX:
                return "other"
            self._clusters.add(cluster)
        return cluster
