"""Measure the forwarder: JSON lines, then a table with goals and verdicts.

python -m bench [--quick] [--binary dist/aks-audit-log] [LINE …]
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.rig import PYTHON, ROOT, Forwarder, Load, emit, forwarder, hub, line_of, sink, until

SOURCE = [PYTHON, "-m", "aks_audit"]
OLD_MODEL = {"POSTBATCHMAXEVENTS": "1", "POSTCONCURRENCY": "4", "CHECKPOINTINTERVAL": "100"}
"""One event a POST, one POST at a time per partition (4 of them)."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    line: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    """How a backlog went."""

    events_per_s: float
    cpu_us: float
    """CPU of the forwarder per audit event, in microseconds."""
    checkpoints: float


def delivered(running: Forwarder) -> float:
    """Audit events that the sink took; 0 while the page does not answer yet."""
    try:
        return running.scrape().get("falco_aks_audit_log_events_success_total", 0.0)
    except OSError:
        return 0.0


def drain(
    program: list[str], load: Load, latency_ms: float = 0, settings: dict[str, str] | None = None
) -> Drained:
    """Let a forwarder work a backlog off."""
    events = load.bodies * load.records
    with (
        hub(load) as (connection_string, _),
        sink(latency_ms) as url,
        forwarder(program, connection_string, url, settings or {}) as running,
    ):
        until(lambda: delivered(running) > 0, every_s=0.005)
        cpu, start, first = running.cpu_s(), time.monotonic(), delivered(running)
        end = until(lambda: delivered(running) >= events, every_s=0.05)
        used, left = running.cpu_s() - cpu, events - first
        writes = running.scrape().get("aks_audit_log_checkpoint_writes_total", 0.0)
    return Drained(left / (end - start), used / left * 1e6, writes)


def ceiling_us(load: Load) -> float:
    """CPU per audit event of a loop that only receives with the SDK, in microseconds."""
    with hub(load) as (connection_string, _):
        command = [PYTHON, "-m", "bench.ceiling", connection_string, str(load.bodies), "32"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout) / (load.bodies * load.records) * 1e6


def throughput(program: list[str], events: int, repeat: int) -> Iterable[Row]:
    """Backlog, sink latencies, the old model and the SDK's ceiling, interleaved."""
    load = Load(bodies=events // 22)
    small = Load(bodies=events // 22 // 40)
    by_latency: dict[float, list[Drained]] = {0: [], 2: [], 10: []}
    old: dict[float, list[Drained]] = {0: [], 10: []}
    ceilings = []
    for _ in range(repeat):
        for latency, runs in by_latency.items():
            runs.append(drain(program, load, latency))
        for latency, runs in old.items():
            runs.append(drain(program, small, latency, OLD_MODEL))
        ceilings.append(ceiling_us(load))
    best = {
        latency: _median(run.events_per_s for run in runs) for latency, runs in by_latency.items()
    }
    slow = {latency: _median(run.events_per_s for run in runs) for latency, runs in old.items()}
    cpu = _median(run.cpu_us for run in by_latency[0])
    ceiling = statistics.median(ceilings)
    yield Row("CPU per audit event", cpu, "us", "<= 15", cpu <= 15)
    yield Row("SDK alone, CPU per audit event", ceiling, "us")
    yield Row("over the SDK's ceiling", cpu / ceiling, "x", "<= 4", cpu <= 4 * ceiling)
    for latency, rate in best.items():
        yield Row(f"throughput, sink {latency:g} ms", rate, "events/s")
    cost = 1 - best[10] / best[0]
    yield Row("cost of a 10 ms sink", cost * 100, "%", "< 20", cost < 0.2)
    for latency, times in ((0, 10), (10, 50)):
        ratio = best[latency] / slow[latency]
        goal = f">= {times}"
        yield Row(f"over the old model, sink {latency} ms", ratio, "x", goal, ratio >= times)
    writes = _median(run.checkpoints for run in by_latency[0]) / load.bodies * 100
    yield Row("checkpoint writes over the old model's", writes, "%", "< 0.5", writes < 0.5)


def under_load(program: list[str], seconds: float) -> Iterable[Row]:
    """Sparse and steady streams: from enqueued to posted, and the CPU for it."""
    for name, load, p, goal_ms in (
        ("sparse, 4 partitions", Load(4, 0, 1, 2048, 20, seconds), 0.95, 200),
        ("sparse, 32 partitions", Load(32, 0, 1, 2048, 20, seconds), 0.95, 200),
        ("5,000 events/s", Load(4, 0, 22, 1024, 5000 / 22, seconds), 0.99, 500),
    ):
        with (
            hub(load) as (connection_string, feed),
            sink(0) as url,
            forwarder(program, connection_string, url, {}) as running,
        ):
            until(running.ready)
            time.sleep(5)
            idle_cpu, start = running.cpu_s(), time.monotonic()
            time.sleep(seconds / 2)
            idle = (running.cpu_s() - idle_cpu) / (time.monotonic() - start) * 100
            rss = running.rss_mb()
            assert feed.stdin is not None
            feed.stdin.write("go\n")
            feed.stdin.flush()
            cpu, start = running.cpu_s(), time.monotonic()
            sent = int(line_of(feed))
            busy = (running.cpu_s() - cpu) / (time.monotonic() - start) * 100
            until(lambda n=sent * load.records: delivered(running) >= n)  # type: ignore[misc]
            bound = quantile_ms(running.scrape(), p)
        label = f"{name}: p{p * 100:g} enqueued to posted, at most"
        yield Row(label, bound, "ms", f"<= {goal_ms}", bound <= goal_ms)
        yield Row(f"{name}: CPU", busy, "%", *(("< 15", busy < 15) if "5,000" in name else ()))
        yield Row(f"{name}: idle CPU before", idle, "%")
        yield Row(f"{name}: idle RSS before", rss, "MB", "< 90", rss < 90)


def quantile_ms(scrape: dict[str, float], quantile: float) -> float:
    """The upper bound of the histogram's bucket that holds a quantile of the delays."""
    name = "aks_audit_log_delay_seconds"
    total = scrape[f"{name}_count"]
    for key, value in scrape.items():
        if key.startswith(f"{name}_bucket:") and value >= quantile * total:
            return float(key.rpartition(":")[2]) * 1000
    return float("inf")


def start_up(program: list[str], repeat: int) -> Iterable[Row]:
    """From exec to /readyz."""
    times = []
    for _ in range(repeat):
        with hub(Load()) as (connection_string, _), sink(0) as url:
            begun = time.monotonic()
            with forwarder(program, connection_string, url, {}) as running:
                times.append(until(running.ready, every_s=0.01) - begun)
    yield Row("start, exec to /readyz", statistics.median(times), "s")


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, one repetition")
    parser.add_argument("--binary", help="measure this executable rather than the source")
    parser.add_argument("lines", nargs="*", help="throughput, load, start; all if none")
    arguments = parser.parse_args()
    program = [str((ROOT / arguments.binary).resolve())] if arguments.binary else SOURCE
    events, repeat, seconds = (60_000, 1, 10) if arguments.quick else (300_000, 3, 30)
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "throughput": lambda: throughput(program, events, repeat),
        "load": lambda: under_load(program, seconds),
        "start": lambda: start_up(program, repeat),
    }
    rows = []
    for name in arguments.lines or parts:
        for row in parts[name]():
            emit(
                row.line, value=round(row.value, 3), unit=row.unit, goal=row.goal, met=str(row.met)
            )
            rows.append(row)
    print(f"\n{'':52} {'value':>12}  goal      verdict")
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.line:52} {row.value:12,.1f} {row.unit:9} {row.goal:8} {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
