"""The gauges of each partition: what the ledger and the checkpoint writer know, at each scrape."""

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..ops.metrics import PREFIX
from .checkpointer import Checkpointer
from .ledger import Ledger


class PartitionCollector(Collector):
    """Per-partition gauges, computed from the ledger at each scrape."""

    def __init__(
        self, ledger: Ledger, checkpointer: Checkpointer, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._checkpointer = checkpointer
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """The families, as they are now."""
        received = _gauge("last_sequence_number", "Sequence number received last.")
        written = _gauge("checkpoint_sequence_number", "Sequence number checkpointed last.")
        age = _gauge("checkpoint_age_seconds", "Since the checkpoint was written.")
        behind = _gauge("checkpoint_behind_events", "Hub events received and not checkpointed.")
        unwritten = _gauge(
            "checkpoint_unwritten_seconds",
            "For how long the store has lacked progress.",
        )
        for ledger in self._ledger.partitions():
            labels = [ledger.partition]
            received.add_metric(labels, ledger.seen)
            written.add_metric(labels, ledger.written.sequence_number)
            behind.add_metric(labels, ledger.seen - ledger.written.sequence_number)
            since = self._checkpointer.unwritten_since.get(ledger.partition)
            unwritten.add_metric(labels, 0.0 if since is None else max(0.0, self._clock() - since))
            at = self._checkpointer.written_at.get(ledger.partition)
            if at is not None:
                age.add_metric(labels, max(0.0, self._clock() - at))
        return (received, written, age, behind, unwritten)


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["partition"])
