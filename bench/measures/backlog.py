"""The measurements: each yields the rows of its part of the table."""

import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from bench.hub import Load
from bench.rig import (
    PYTHON,
    ROOT,
    SOURCE,
    Forwarder,
    Program,
    Sink,
    open_forwarder,
    open_hub,
    open_sink,
    until,
    used_by,
)

MB = 1e6
MIB = 1024**2
OLD_MODEL = {"POSTBATCHMAXEVENTS": "1", "POSTCONCURRENCY": "4", "CHECKPOINTINTERVAL": "100"}
"""One event a POST, one POST at a time per partition (of 4), checkpoints as fast as may be set."""
PREFETCH = 28
"""Of the loop that only receives: what the forwarder gives a partition when there are 4."""
SETTLE_S = 5.0
"""From readiness to a measurement of rest."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    line: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: the whole, or a quick look."""

    events: int
    repeat: int
    rest_s: float
    stream_s: float
    load_s: float


WHOLE = Scale(events=300_000, repeat=3, rest_s=30, stream_s=20, load_s=60)
QUICK = Scale(events=60_000, repeat=1, rest_s=5, stream_s=5, load_s=10)

Programs = Mapping[str, Program]
"""The forwarders to measure, by name; the first one is the source."""


@dataclass(frozen=True, slots=True)
class Drained:
    """How a backlog went."""

    events_per_s: float
    cpu_us: float
    """CPU of the forwarder per audit event, in microseconds."""
    cpu_ms_per_mb: float
    """CPU of the forwarder per MB of hub events, in milliseconds."""
    checkpoints: float


def drain(
    program: Program, load: Load, latency_ms: float = 0, settings: Mapping[str, str] | None = None
) -> Drained:
    """Let a forwarder work a backlog off, and measure from its first POST to its last."""
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


def receive_only(load: Load) -> tuple[float, float]:
    """CPU microseconds per audit event, and audit events/s, of a loop that only receives."""
    with open_hub(load) as hub:
        cpu_s, seconds = used_by("receive", hub.connection_string, str(load.bodies), str(PREFETCH))
    return cpu_s / load.events * 1e6, load.events / seconds


def sink_ceiling(posts: int = 500) -> float:
    """Audit events/s that the sink takes of a bare socket, 400 to a POST."""
    with open_sink() as sink:
        _, seconds = used_by("post", sink.url, str(posts))
        return sink.taken().events / seconds


def throughput(programs: Programs, scale: Scale) -> Iterator[Row]:
    """Backlog, sink latencies, the old model and the ceilings, interleaved."""
    load = Load(bodies=scale.events // 22)
    runs: dict[str, list[Drained]] = {name: [] for name in programs}
    by_latency: dict[float, list[Drained]] = {0: runs["source"], 2: [], 10: []}
    # The old model is so much slower that a fraction of the backlog takes as long.
    old: dict[float, list[Drained]] = {0: [], 10: []}
    receiving = []
    for _ in range(scale.repeat):
        for name, program in programs.items():
            runs[name].append(drain(program, load))
        for latency in (2, 10):
            by_latency[latency].append(drain(SOURCE, load, latency))
        for latency, share in ((0, 40), (10, 200)):
            small = msgspec.structs.replace(load, bodies=max(40, load.bodies // share))
            old[latency].append(drain(SOURCE, small, latency, OLD_MODEL))
        receiving.append(receive_only(load))
    cpu = statistics.median(run.cpu_us for run in runs["source"])
    alone = statistics.median(cpu_us for cpu_us, _ in receiving)
    for name, some in runs.items():
        value = statistics.median(run.cpu_us for run in some)
        yield Row(f"CPU per audit event, {name}", value, "us", "<= 15", value <= 15)
    yield Row("CPU per audit event, SDK alone", alone, "us")
    yield Row("over the SDK alone", cpu / alone, "x", "<= 4", cpu <= 4 * alone)
    best = {latency: _rate(some) for latency, some in by_latency.items()}
    for latency_ms, rate in best.items():
        yield Row(f"throughput, sink {latency_ms:g} ms", rate, "events/s")
    for name, some in runs.items():
        if name != "source":
            yield Row(f"throughput, sink 0 ms, {name}", _rate(some), "events/s")
    received = statistics.median(rate for _, rate in receiving)
    yield Row("ceiling: emulator and SDK alone", received, "events/s")
    yield Row("ceiling: the sink alone", sink_ceiling(), "events/s")
    cost = 1 - best[10] / best[0]
    yield Row("what a sink of 10 ms costs", cost * 100, "%", "< 20", cost < 0.2)
    for latency, times in ((0, 10), (10, 50)):
        ratio = best[latency] / _rate(old[latency])
        line = f"over the old model, sink {latency} ms"
        yield Row(line, ratio, "x", f">= {times}", ratio >= times)
    per_million = statistics.median(run.checkpoints for run in runs["source"]) / load.events * 1e6
    yield Row("checkpoint writes per 1,000,000 events", per_million, "")
    of_old = per_million / (1e6 / load.records) * 100
    yield Row("of the old model's (one per hub event)", of_old, "%", "< 0.5", of_old < 0.5)


def _rate(runs: Iterable[Drained]) -> float:
    return statistics.median(run.events_per_s for run in runs)


SHAPES = {
    "4 partitions, 1 cluster, 22 x 1 KB": Load(bodies=2000),
    "1 partition": Load(partitions=1, bodies=2000),
    "32 partitions": Load(partitions=32, bodies=2000),
    "20 clusters": Load(clusters=20, bodies=2000),
    "100 clusters": Load(clusters=100, bodies=2000),
    "4 x 10 KB": Load(records=4, event_bytes=10_240, bodies=2000),
    "560 x 1 KB, 1 MB": Load(records=560, bodies=80),
    "5 x 199 KB, 1 MB": Load(records=5, event_bytes=199_000, bodies=80),
}


def scaling(_programs: Programs, scale: Scale) -> Iterator[Row]:
    """Cost per MB over numbers of partitions and clusters and sizes of events, interleaved."""
    tiny = "1 x 2 KB"
    shapes = {**SHAPES, tiny: Load(records=1, event_bytes=2048, bodies=10_000)}
    costs: dict[str, list[Drained]] = {shape: [] for shape in shapes}
    for _ in range(scale.repeat):
        for shape, load in shapes.items():
            costs[shape].append(drain(SOURCE, load))
    base = None
    for shape in SHAPES:
        cost = statistics.median(run.cpu_ms_per_mb for run in costs[shape])
        base = base or cost
        goal = f"<= {1.25 * base:.1f}"
        yield Row(f"cost per MB: {shape}", cost, "ms", goal, cost <= 1.25 * base)
    cost = statistics.median(run.cpu_us for run in costs[tiny])
    yield Row(f"CPU per audit event: {tiny}", cost, "us")


def latency(programs: Programs, scale: Scale) -> Iterator[Row]:
    """At rest and with sparse events, then a steady load."""
    for partitions in (4, 32):
        load = Load(partitions, 0, 1, 2048, bodies_per_s=20, seconds=scale.stream_s)
        yield from _rest_and_stream(load, scale.rest_s)
    load = Load(4, bodies_per_s=5000 / 22, seconds=scale.load_s)
    with (
        open_hub(load) as hub,
        open_sink(mode="delays") as sink,
        open_forwarder(SOURCE, hub, sink) as running,
    ):
        until(running.ready)
        cpu, start = running.cpu_s(), time.monotonic()
        sent = hub.stream() * load.records
        busy = (running.cpu_s() - cpu) / (time.monotonic() - start) * 100
        delays = _delays_ms(sink, sent)
    yield from _delay_rows("5,000 events/s", delays, 99, 500)
    yield Row("5,000 events/s: CPU", busy, "% core", "< 15", busy < 15)
    for name, program in programs.items():
        if name != "source":
            with (
                open_hub(Load()) as hub,
                open_sink() as sink,
                open_forwarder(program, hub, sink) as running,
            ):
                until(running.ready)
                time.sleep(SETTLE_S)
                rss = running.rss_bytes() / MB
            yield Row(f"RSS at rest, 4 partitions, {name}", rss, "MB", "< 90", rss < 90)


def _rest_and_stream(load: Load, rest_s: float) -> Iterator[Row]:
    with (
        open_hub(load) as hub,
        open_hub(load) as other,  # where the forwarder reads, nobody else is let in
        open_sink(mode="delays") as sink,
        open_forwarder(SOURCE, hub, sink) as running,
    ):
        until(running.ready)
        # The SDK's own rest is measured meanwhile: both are idle, and share what noise there is.
        command = [PYTHON, "-m", "bench.ceiling", "idle", other.connection_string, str(rest_s)]
        alone = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        time.sleep(SETTLE_S)
        resting = _rest(running, rest_s)
        sdk_cpu_s, sdk_s = map(float, alone.communicate()[0].split())
        rss = running.rss_bytes() / MB
        sent = hub.stream() * load.records
        delays = _delays_ms(sink, sent)
    sdk = sdk_cpu_s / sdk_s * 100
    name = f"{load.partitions} partitions"
    yield from _delay_rows(f"sparse, {name}", delays, 95, 150)
    yield Row(
        f"CPU at rest, {name}", resting, "% core", f"<= {sdk + 0.5:.1f}", resting <= sdk + 0.5
    )
    yield Row(f"CPU at rest, {name}, SDK alone", sdk, "% core")
    yield Row(f"RSS at rest, {name}", rss, "MB", "< 90", rss < 90)


def _rest(running: Forwarder, seconds: float) -> float:
    cpu, start = running.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (running.cpu_s() - cpu) / (time.monotonic() - start) * 100


def _delays_ms(sink: Sink, events: int) -> list[float]:
    until(lambda: sink.taken().events >= events, every_s=0.5)
    return [delay * 1e3 for delay in sink.taken().delays_s]


def _delay_rows(name: str, delays: list[float], judged: int, goal: float) -> Iterator[Row]:
    cuts = statistics.quantiles(delays, n=100)
    for percent in (50, 95, 99):
        value = cuts[percent - 1]
        line = f"{name}: enqueued to posted, p{percent}"
        if percent == judged:
            yield Row(line, value, "ms", f"< {goal:g}", value < goal)
        else:
            yield Row(line, value, "ms")


def memory(_programs: Programs, _scale: Scale) -> Iterator[Row]:
    """RSS with a sink that takes nothing, and 32 partitions full of 1 MB hub events."""
    load = Load(32, bodies=32 * 8, records=5, event_bytes=199_000)
    with (
        open_hub(load) as hub,
        open_sink(mode="stalled") as sink,
        open_forwarder(SOURCE, hub, sink) as running,
    ):
        highest, since = 0, time.monotonic()
        while time.monotonic() - since < 10:
            now = running.rss_bytes()
            if now > highest:
                highest, since = now, time.monotonic()
            time.sleep(0.05)
    yield Row(
        "RSS, sink stalled, 32 partitions of 1 MB events",
        highest / MIB,
        "MiB",
        "< 300",
        highest < 300 * MIB,
    )


def start(programs: Programs, scale: Scale) -> Iterator[Row]:
    """From exec to /readyz, the programs interleaved."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(max(3, scale.repeat)):
        for name, program in programs.items():
            with open_hub(Load()) as hub, open_sink() as sink:
                begun = time.monotonic()
                with open_forwarder(program, hub, sink) as running:
                    until(running.ready, every_s=0.01)
                    times[name].append(time.monotonic() - begun)
    for name, some in times.items():
        yield Row(f"start, exec to /readyz, {name}", statistics.median(some), "s")


def defaults(_programs: Programs, scale: Scale) -> Iterator[Row]:
    """What the defaults of POSTCONCURRENCY and POSTBATCHMAXEVENTS were chosen by, interleaved."""
    load = Load(bodies=scale.events // 22 // 5)
    settings = [(1, 400), (2, 400), (4, 400), (8, 400), (4, 100), (4, 1000)]
    tried = [(ms, *each) for ms in (0.0, 10.0, 50.0) for each in settings]
    runs: dict[tuple[float, int, int], list[Drained]] = {key: [] for key in tried}
    for _ in range(scale.repeat):
        for latency_ms, senders, batch in tried:
            changed = {"POSTCONCURRENCY": str(senders), "POSTBATCHMAXEVENTS": str(batch)}
            runs[latency_ms, senders, batch].append(drain(SOURCE, load, latency_ms, changed))
    for (latency_ms, senders, batch), some in runs.items():
        line = f"sink {latency_ms:g} ms, {senders} senders, {batch} events a POST"
        yield Row(line, _rate(some), "events/s")
