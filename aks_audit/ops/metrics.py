"""The numbers that every stage feeds; `stats` serves them.

The four counters of aks-audit-log-go keep their exact names: dashboards and
alerts on them go on working. Its client library puts no ``_total`` behind a
counter's name and ours would, so `LegacyCounter` renders itself.
"""

from collections.abc import Callable
from typing import cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

PREFIX = "aks_audit_log"

POST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 400, 1000)
DELAY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
"""From Event Hubs' taking an event to Falco's: seconds when all is well, hours after an outage."""


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


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        # Untyped upstream; without it every counter gets a second series of its age.
        cast("Callable[[], None]", disable_created_metrics)()
        self.registry = registry = CollectorRegistry()
        # Names and meanings of aks-audit-log-go, internal/forwarder/forwarder_stats.go.
        self.events = LegacyCounter("falco_aks_audit_log_events", "Audit events sent to Falco.")
        self.success = LegacyCounter(
            "falco_aks_audit_log_events_success", "Audit events that Falco accepted."
        )
        self.errors = LegacyCounter(
            "falco_aks_audit_log_events_errors", "Audit events given up: not accepted by Falco."
        )
        self.retry = LegacyCounter(
            "falco_aks_audit_log_events_retry", "Times that audit events had to be sent again."
        )

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)

        self.hub_events = counter("hub_events", "Event Hubs events received.", "partition")
        self.hub_bytes = counter("hub_bytes", "Bytes of Event Hubs events received.", "partition")
        self.redelivered = counter(
            "hub_events_redelivered", "Event Hubs events delivered again and passed over."
        )
        self.gaps = counter(
            "sequence_gaps", "Event Hubs events that a partition skipped.", "partition"
        )
        self.skipped = counter("records_skipped", "Records not forwarded, by reason.", "reason")
        self.salvaged = counter("events_salvaged", "Audit events that came cut and were rebuilt.")
        self.duplicates = counter("events_duplicate", "Audit events that had come before.")
        self.filtered = counter("events_filtered", "Audit events that FILTERS drops.")
        self.clusters = counter(
            "cluster_events",
            "Audit events received, by cluster and what they were.",
            "cluster",
            "kind",
        )
        self.outcomes = counter("events_settled", "Audit events done, by outcome.", "outcome")
        self.dead_letters = counter(
            "dead_letters", "Events kept in the dead-letter store, by reason.", "reason"
        )
        self.posts = counter("posts", "POSTs to Falco, by status or kind of failure.", "status")
        self.checkpoints = counter("checkpoint_writes", "Checkpoints written, by result.", "result")
        self.restarts = counter("receiver_restarts", "Times the Event Hubs client was rebuilt.")
        self.post_seconds = Histogram(
            f"{PREFIX}_post_seconds",
            "From sending a POST to its answer.",
            registry=registry,
            buckets=POST_SECONDS,
        )
        self.batch_events = Histogram(
            f"{PREFIX}_batch_events",
            "Audit events in a POST.",
            registry=registry,
            buckets=BATCH_EVENTS,
        )
        self.delay_seconds = Histogram(
            f"{PREFIX}_delay_seconds",
            "From Event Hubs' taking an event to Falco's, per hub event and POST.",
            registry=registry,
            buckets=DELAY_SECONDS,
        )
        self.inflight_events = Gauge(
            f"{PREFIX}_inflight_events", "Audit events received and not done.", registry=registry
        )
        self.inflight_bytes = Gauge(
            f"{PREFIX}_inflight_bytes", "Bytes of the events in flight.", registry=registry
        )
        self.holding = Gauge(
            f"{PREFIX}_holding",
            "Webhooks that are away, so that their events are held.",
            registry=registry,
        )
        self.build_info = Gauge(
            f"{PREFIX}_build_info",
            "1, labelled with what this is.",
            ("version", "python", "azure_eventhub"),
            registry=registry,
        )

    def render(self) -> bytes:
        """Everything in the text format, version 0.0.4."""
        legacy = (self.events, self.success, self.errors, self.retry)
        return "".join(counter.render() for counter in legacy).encode() + generate_latest(
            self.registry
        )
