"""What it costs to work off a backlog, and how fast that goes."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from bench.hub import Load
from bench.measures.drain import Drained, drain, rate, receive_only, sink_ceiling
from bench.rig import SOURCE
from bench.rows import Programs, Row, Scale

OLD_MODEL = {"POSTBATCHMAXEVENTS": "1", "POSTCONCURRENCY": "4", "CHECKPOINTINTERVAL": "100"}
"""One event per POST, one POST at a time per partition (of 4), the shortest checkpoint interval."""


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of `throughput`."""

    load: Load
    by_program: dict[str, list[Drained]]
    by_latency: dict[float, list[Drained]]
    """Of the source, by the sink's latency in milliseconds."""
    old: dict[float, list[Drained]]
    """Of the old model, in the same way."""
    receiving: list[tuple[float, float]]
    """Of the loop that only receives."""


def throughput(programs: Programs, scale: Scale) -> Iterator[Row]:
    """Measure backlog, sink latencies, the old model and the ceilings, interleaved."""
    runs = _runs(programs, scale)
    yield from _cpu_rows(runs)
    yield from _rate_rows(runs)
    yield from _comparison_rows(runs)
    yield from _checkpoint_rows(runs)


def _runs(programs: Programs, scale: Scale) -> Runs:
    load = Load(bodies=scale.events // 22)
    by_program: dict[str, list[Drained]] = {name: [] for name in programs}
    runs = Runs(load, by_program, {0: by_program["source"], 2: [], 10: []}, {0: [], 10: []}, [])
    for _ in range(scale.repeat):
        for name, program in programs.items():
            by_program[name].append(drain(program, load))
        for latency in (2, 10):
            runs.by_latency[latency].append(drain(SOURCE, load, latency))
        # The old model is so much slower that a fraction of the backlog takes as long.
        for latency, share in ((0, 40), (10, 200)):
            small = msgspec.structs.replace(load, bodies=max(40, load.bodies // share))
            runs.old[latency].append(drain(SOURCE, small, latency, OLD_MODEL))
        runs.receiving.append(receive_only(load))
    return runs


def _cpu_rows(runs: Runs) -> Iterator[Row]:
    cpu = statistics.median(run.cpu_us for run in runs.by_program["source"])
    alone = statistics.median(cpu_us for cpu_us, _ in runs.receiving)
    for name, some in runs.by_program.items():
        value = statistics.median(run.cpu_us for run in some)
        yield Row(f"CPU per audit event, {name}", value, "us", "<= 15", value <= 15)
    yield Row("CPU per audit event, SDK alone", alone, "us")
    yield Row("over the SDK alone", cpu / alone, "x", "<= 4", cpu <= 4 * alone)


def _rate_rows(runs: Runs) -> Iterator[Row]:
    for latency_ms, some in runs.by_latency.items():
        yield Row(f"throughput, sink {latency_ms:g} ms", rate(some), "events/s")
    for name, some in runs.by_program.items():
        if name != "source":
            yield Row(f"throughput, sink 0 ms, {name}", rate(some), "events/s")
    received = statistics.median(events_per_s for _, events_per_s in runs.receiving)
    yield Row("ceiling: emulator and SDK alone", received, "events/s")
    yield Row("ceiling: the sink alone", sink_ceiling(), "events/s")


def _comparison_rows(runs: Runs) -> Iterator[Row]:
    best = {latency: rate(some) for latency, some in runs.by_latency.items()}
    cost = 1 - best[10] / best[0]
    yield Row("what a sink of 10 ms costs", cost * 100, "%", "< 20", cost < 0.2)
    for latency, times in ((0, 10), (10, 50)):
        ratio = best[latency] / rate(runs.old[latency])
        line = f"over the old model, sink {latency} ms"
        yield Row(line, ratio, "x", f">= {times}", ratio >= times)


def _checkpoint_rows(runs: Runs) -> Iterator[Row]:
    writes = statistics.median(run.checkpoints for run in runs.by_program["source"])
    per_million = writes / runs.load.events * 1e6
    yield Row("checkpoint writes per 1,000,000 events", per_million, "")
    of_old = per_million / (1e6 / runs.load.records) * 100
    yield Row("of the old model's (one per hub event)", of_old, "%", "< 0.5", of_old < 0.5)


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
    """Measure the cost per MB by partitions, clusters and size of events, interleaved."""
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


def defaults(_programs: Programs, scale: Scale) -> Iterator[Row]:
    """Measure what the defaults of POSTCONCURRENCY and POSTBATCHMAXEVENTS are based on."""
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
        yield Row(line, rate(some), "events/s")
