"""Compares what was published with what arrived. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from demo.counts import Counts
from testkit.falco import Key
from testkit.streams.expected import expected_letters, expected_skips
from testkit.streams.stream import Expected

Pair = tuple[int, int]
"""What the forwarder counts, and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one run of the demo."""

    published: int
    delivered: int
    """Different events that Falco has accepted."""
    lost: int
    duplicates: int
    foreign: int
    """Events that Falco has accepted and that were never published."""
    dropped: int
    """What the stand-in accepted and dropped, as Falco would."""
    malformed: int
    skipped: Mapping[str, Pair]
    """By reason."""
    dead_letters: Mapping[str, Pair]
    """By reason."""
    clusters: Mapping[str, Pair]
    salvaged: Pair
    copies: Pair
    """Audit events that came a second time, and were not posted again."""
    hub_events: int
    body_bytes: int
    seconds: float
    latencies: Sequence[float]
    """From the producer to Falco, in seconds, sorted."""
    exit_status: int

    @property
    def problems(self) -> list[str]:
        """Why the run is not a success."""
        checks = {
            f"{self.lost} events lost": self.lost,
            f"{self.foreign} events that were never published": self.foreign,
            f"{self.dropped} bodies or events that Falco would drop": self.dropped,
            f"the forwarder ended with status {self.exit_status}": self.exit_status,
        }
        found = [text for text, wrong in checks.items() if wrong]
        found += [
            f"{name}: {counted} instead of {true}"
            for name, (counted, true) in self._accounts()
            if counted != true
        ]
        return found

    def _accounts(self) -> Iterator[tuple[str, Pair]]:
        yield "events rebuilt", self.salvaged
        yield "copies removed", self.copies
        for reason, pair in self.skipped.items():
            yield f"skipped as {reason}", pair
        for reason, pair in self.dead_letters.items():
            yield f"dead letters for {reason}", pair
        for cluster, pair in self.clusters.items():
            yield f"events of {cluster}", pair

    @property
    def rate(self) -> float:
        """Audit events per second, from the first that was published to the last that arrived."""
        return self.delivered / self.seconds if self.seconds else 0.0

    def latency(self, share: float) -> float:
        """Return a quantile of the latencies; 0.0 if there are none."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def _pairs(counted: Mapping[str, int], true: Mapping[str, int]) -> dict[str, Pair]:
    return {name: (counted.get(name, 0), true.get(name, 0)) for name in sorted({*counted, *true})}


def compare(
    total: Expected,
    receipts: Mapping[Key, int],
    counts: Counts,
    *,
    dropped: int,
    exit_status: int,
    sent_at: Mapping[Key, float],
    first_seen: Mapping[Key, float],
) -> Result:
    """Compare what was published with what arrived."""
    expected = set(total.audit)
    arrived = expected & receipts.keys()
    latencies = sorted(first_seen[key] - sent_at[key] for key in arrived if key in sent_at)
    seconds = max(first_seen.values(), default=0.0) - min(sent_at.values(), default=0.0)
    return Result(
        published=len(total.audit),
        delivered=len(arrived),
        lost=len(expected) - len(arrived),
        duplicates=sum(receipts.values()) - len(receipts),
        foreign=len(receipts.keys() - expected),
        dropped=dropped,
        malformed=sum(total.malformed.values()),
        skipped=_pairs(counts.skipped, expected_skips(total)),
        dead_letters=_pairs(counts.dead_letters, expected_letters(total)),
        clusters=_pairs(counts.clusters, total.clusters),
        salvaged=(counts.salvaged, total.cut),
        copies=(counts.copies, total.copies),
        hub_events=total.hub_events,
        body_bytes=total.body_bytes,
        seconds=max(0.0, seconds),
        latencies=latencies,
        exit_status=exit_status,
    )
