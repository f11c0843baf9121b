"""What the metrics say of each partition."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from aks_audit.checkpoints.checkpointer import Checkpointer
from aks_audit.checkpoints.collector import PartitionCollector
from aks_audit.checkpoints.ledger import Ledger
from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.config.load import load
from aks_audit.model import HubEvent, Position
from aks_audit.ops.metrics import PREFIX, Metrics
from tests.helpers import ENVIRONMENT


def partition_gauges(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {
        (family.name.removeprefix(f"{PREFIX}_"), sample.labels["partition"]): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if family.type == "gauge" and "partition" in sample.labels
    }


def test_partitions_are_shown_as_the_ledger_knows_them() -> None:
    metrics, ledger = Metrics(), Ledger()
    store = SqliteStore(Path("/nowhere/checkpoints.db"))
    checkpointer = Checkpointer(store, load(ENVIRONMENT).hub, ledger, metrics.checkpoints)
    metrics.registry.register(PartitionCollector(ledger, checkpointer, lambda: 1000.0))
    assert partition_gauges(metrics) == {}
    claimed = ledger.claim("3", Position(10, "10"))
    for number in (11, 12, 15):
        entry = claimed.open(HubEvent("3", Position(number, str(number)), 0.0, b""), 1)
        assert entry is not None
        if number < 15:
            entry.settle()
    claimed.wrote(Position(12, "12"))
    checkpointer.written_at["3"] = 940.0
    found = partition_gauges(metrics)
    assert found[("last_sequence_number", "3")] == 15
    assert found[("checkpoint_sequence_number", "3")] == 12
    assert found[("checkpoint_behind_events", "3")] == 3
    assert found[("checkpoint_age_seconds", "3")] == 60
