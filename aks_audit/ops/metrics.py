"""The numbers that every stage feeds; `server` serves them.

Each stage is given the small group that it feeds, so that whoever runs one
stage alone (replay posts, and does nothing else) makes no others.

The four counters of aks-audit-log-go keep their exact names, so that dashboards
and alerts on them go on working (internal/forwarder/forwarder_stats.go there).
Its client library puts no ``_total`` behind a counter's name and ours does, so
`LegacyCounter` renders itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "aks_audit_log"

POST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 400, 1000)
DELAY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
"""From the moment Event Hubs takes an event until Falco takes it: seconds when all is well, hours
after an outage."""


class LegacyCounter:
    """A counter whose exposed name is exactly the one given."""

    __slots__ = ("help", "name", "value")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.help = text
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add to the counter."""
        self.value += amount

    def render(self) -> str:
        """The text format, version 0.0.4."""
        header = f"# HELP {self.name} {self.help}\n# TYPE {self.name} counter\n"
        return f"{header}{self.name} {self.value}\n"


class ReceiverMetrics:
    """The Event Hubs client."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.restarts = _counter(
            registry, "receiver_restarts", "Times the Event Hubs client was rebuilt."
        )
        self.contested = _counter(
            registry,
            "partitions_contested",
            "Times that another program took a partition that the store says is ours.",
            "partition",
        )
        self.owned = _gauge(registry, "partitions_owned", "Partitions that this process owns.")
        self.unowned = _gauge(
            registry,
            "partitions_unowned",
            "Partitions that nobody owns, as far as this process knows.",
        )


class IntakeMetrics:
    """What arrived, and what was found in it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.hub_events = _counter(
            registry, "hub_events", "Event Hubs events received.", "partition"
        )
        self.hub_bytes = _counter(
            registry, "hub_bytes", "Bytes of Event Hubs events received.", "partition"
        )
        self.redelivered = _counter(
            registry,
            "hub_events_redelivered",
            "Event Hubs events delivered again and passed over.",
        )
        self.gaps = _counter(
            registry, "sequence_gaps", "Event Hubs events that a partition skipped.", "partition"
        )
        self.skipped = _counter(
            registry, "records_skipped", "Records not forwarded, by reason.", "reason"
        )
        self.salvaged = _counter(
            registry, "events_salvaged", "Audit events that came cut and were rebuilt."
        )
        self.duplicates = _counter(
            registry, "events_duplicate", "Audit events that had come before."
        )
        self.filtered = _counter(registry, "events_filtered", "Audit events that FILTERS drops.")
        self.clusters = _counter(
            registry,
            "cluster_events",
            "Audit events received, by cluster and what they were.",
            "cluster",
            "kind",
        )


class OutcomeMetrics:
    """What became of audit events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.success = LegacyCounter(
            "falco_aks_audit_log_events_success", "Audit events that Falco accepted."
        )
        self.errors = LegacyCounter(
            "falco_aks_audit_log_events_errors",
            "Audit events and records given up: dead letters and dropped events.",
        )
        self.by_outcome = _counter(
            registry, "events_settled", "Audit events done, by outcome.", "outcome"
        )
        self.delay_seconds = _histogram(
            registry,
            "delay_seconds",
            "From Event Hubs' taking an event to Falco's, per hub event and POST.",
            DELAY_SECONDS,
        )


class PostMetrics:
    """The POSTs to the webhooks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = LegacyCounter("falco_aks_audit_log_events", "Audit events sent to Falco.")
        self.retry = LegacyCounter(
            "falco_aks_audit_log_events_retry", "Times that audit events had to be sent again."
        )
        self.by_status = _counter(
            registry, "posts", "POSTs to Falco, by status or kind of failure.", "status"
        )
        self.post_seconds = _histogram(
            registry, "post_seconds", "From sending a POST to its answer.", POST_SECONDS
        )
        self.batch_events = _histogram(
            registry, "batch_events", "Audit events in a POST.", BATCH_EVENTS
        )
        self.holding = _gauge(
            registry, "holding", "Webhooks that are away, so that their events are held."
        )


class DoubtMetrics:
    """What the endpoint took, and may lose all the same."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.events = _gauge(
            registry, "indoubt_events", "Audit events that Falco accepted and may still lose."
        )
        self.posted_again = _counter(
            registry, "events_posted_again", "Audit events in doubt when the endpoint broke."
        )


class DeadLetterMetrics:
    """The dead letters."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.by_reason = _counter(
            registry, "dead_letters", "Events kept in the dead-letter store, by reason.", "reason"
        )


class CheckpointMetrics:
    """The checkpoint writer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.writes = _counter(
            registry, "checkpoint_writes", "Checkpoints written, by result.", "result"
        )
        self.stream_resets = _counter(
            registry,
            "stream_resets",
            "Times that a partition's stream was not the one that its checkpoint was made for.",
            "partition",
        )


class ProcessMetrics:
    """The process as a whole."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.inflight_events = _gauge(
            registry, "inflight_events", "Audit events received and not done."
        )
        self.inflight_bytes = _gauge(registry, "inflight_bytes", "Bytes of the events in flight.")
        self.build_info = _gauge(
            registry,
            "build_info",
            "1, labelled with what this is.",
            "version",
            "python",
            "azure_eventhub",
        )


class LostLines(Collector):
    """A counter that reads its value where it is kept: the log must not need the metrics."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    def collect(self) -> Iterable[Metric]:
        """The family, as it is now."""
        text = "Log lines that were lost because nobody read the log."
        yield CounterMetricFamily(f"{PREFIX}_log_lines_lost", text, value=self._count())


class Metrics:
    """All groups of one process, in a registry of their own."""

    def __init__(self) -> None:
        # Untyped upstream; without it every counter gets a second series of its age.
        cast("Callable[[], None]", disable_created_metrics)()
        self.registry = registry = CollectorRegistry()
        self.receiver = ReceiverMetrics(registry)
        self.intake = IntakeMetrics(registry)
        self.outcomes = OutcomeMetrics(registry)
        self.posts = PostMetrics(registry)
        self.doubt = DoubtMetrics(registry)
        self.dead_letters = DeadLetterMetrics(registry)
        self.checkpoints = CheckpointMetrics(registry)
        self.process = ProcessMetrics(registry)

    def render(self) -> bytes:
        """Everything in the text format, version 0.0.4."""
        posts, outcomes = self.posts, self.outcomes
        legacy = (posts.events, outcomes.success, outcomes.errors, posts.retry)
        return "".join(counter.render() for counter in legacy).encode() + generate_latest(
            self.registry
        )


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{PREFIX}_{name}", text, labels, registry=registry)


def _histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: Sequence[float]
) -> Histogram:
    return Histogram(f"{PREFIX}_{name}", text, registry=registry, buckets=buckets)
