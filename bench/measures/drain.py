"""The runs that the measurements of a backlog consist of."""

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.hub import Load
from bench.rig import Program, open_forwarder, open_hub, open_sink, until, used_by
from bench.rows import MB

PREFETCH = 220
"""Of the loop that only receives: as much credit as the forwarder gives to each of 4 partitions
that are all busy with such hub events."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of working off one backlog."""

    events_per_s: float
    cpu_us: float
    """CPU of the forwarder per audit event, in microseconds."""
    cpu_ms_per_mb: float
    """CPU of the forwarder per MB of hub events, in milliseconds."""
    checkpoints: float


def drain(
    program: Program, load: Load, latency_ms: float = 0, settings: Mapping[str, str] | None = None
) -> Drained:
    """Let a forwarder work off a backlog, and measure from its first POST to its last."""
    with (
        open_hub(load) as hub,
        open_sink(latency_ms) as sink,
        open_forwarder(program, hub, sink, settings) as running,
    ):
        until(lambda: sink.taken().events > 0, every_s=0.01)
        cpu, start, first = running.cpu_s(), time.monotonic(), sink.taken().events
        until(lambda: sink.taken().events >= load.events)
        used, seconds = running.cpu_s() - cpu, time.monotonic() - start
        writes = running.scrape("aks_audit_log_checkpoint_writes_total")
    left = load.events - first
    megabytes = hub.backlog_bytes / MB * left / load.events
    return Drained(left / seconds, used / left * 1e6, used / megabytes * 1e3, writes)


def rate(runs: Iterable[Drained]) -> float:
    """Return the median of the audit events/s."""
    return statistics.median(run.events_per_s for run in runs)


def receive_only(load: Load) -> tuple[float, float]:
    """Return CPU microseconds per audit event, and audit events/s, of a loop that only receives."""
    with open_hub(load) as hub:
        cpu_s, seconds = used_by("receive", hub.connection_string, str(load.bodies), str(PREFETCH))
    return cpu_s / load.events * 1e6, load.events / seconds


def sink_ceiling(posts: int = 500) -> float:
    """Return the audit events/s that the sink accepts from a bare socket, 400 in each POST."""
    with open_sink() as sink:
        _, seconds = used_by("post", sink.url, str(posts))
        return sink.taken().events / seconds
