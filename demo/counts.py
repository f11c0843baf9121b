"""What the forwarder's metrics say while the demo runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from testkit.rig import Scrape


@dataclass(frozen=True, slots=True)
class Counts:
    """The metrics that the demo compares with what was published."""

    skipped: Mapping[str, int] = field(default_factory=dict)
    """Records not forwarded, by reason."""
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """Dead letters kept, by reason."""
    clusters: Mapping[str, int] = field(default_factory=dict)
    """Audit events forwarded, by cluster."""
    salvaged: int = 0
    copies: int = 0
    """Audit events that had come before."""
    in_flight: int = 0

    @property
    def skipped_total(self) -> int:
        """How many records were not forwarded."""
        return sum(self.skipped.values())


def counts_of(scrape: Scrape) -> Counts:
    """Return the counts of a page of metrics."""

    def by(name: str, label: str, **labels: str) -> dict[str, int]:
        values = scrape.by(f"aks_audit_log_{name}", label, **labels)
        return {key: int(value) for key, value in values.items()}

    return Counts(
        skipped=by("records_skipped_total", "reason"),
        dead_letters=by("dead_letters_total", "reason"),
        clusters=by("cluster_events_total", "cluster", kind="forwarded"),
        salvaged=int(scrape.total("aks_audit_log_events_salvaged_total")),
        copies=int(scrape.total("aks_audit_log_events_duplicate_total")),
        in_flight=int(scrape.total("aks_audit_log_inflight_events")),
    )
