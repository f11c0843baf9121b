"""How long an audit event takes, and what the forwarder uses while little or nothing comes."""

import statistics
import subprocess
import time
from collections.abc import Iterator

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
)
from bench.rows import MB, Programs, Row, Scale

SETTLE_S = 5.0
"""From readiness to a measurement at rest."""


def latency(programs: Programs, scale: Scale) -> Iterator[Row]:
    """Measure at rest and with sparse events, then under a steady load."""
    for partitions in (4, 32):
        load = Load(partitions, 0, 1, 2048, bodies_per_s=20, seconds=scale.stream_s)
        yield from _rest_and_stream(load, scale.rest_s)
    yield from _steady_load(scale.load_s)
    for name, program in programs.items():
        if name != "source":
            yield _rss_at_rest(name, program)


def _steady_load(seconds: float) -> Iterator[Row]:
    load = Load(4, bodies_per_s=5000 / 22, seconds=seconds)
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


def _rss_at_rest(name: str, program: Program) -> Row:
    with (
        open_hub(Load()) as hub,
        open_sink() as sink,
        open_forwarder(program, hub, sink) as running,
    ):
        until(running.ready)
        time.sleep(SETTLE_S)
        rss = running.rss_bytes() / MB
    return Row(f"RSS at rest, 4 partitions, {name}", rss, "MB", "< 90", rss < 90)


def _rest_and_stream(load: Load, rest_s: float) -> Iterator[Row]:
    with (
        open_hub(load) as hub,
        open_hub(load) as other,  # the forwarder reads alone where it reads
        open_sink(mode="delays") as sink,
        open_forwarder(SOURCE, hub, sink) as running,
    ):
        until(running.ready)
        # The SDK alone is measured at the same time: both are idle, and disturbed alike.
        command = [PYTHON, "-m", "bench.ceiling", "idle", other.connection_string, str(rest_s)]
        alone = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        time.sleep(SETTLE_S)
        resting = rest(running, rest_s)
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


def rest(running: Forwarder, seconds: float) -> float:
    """Return the CPU that a forwarder uses from now on, in per cent of a core."""
    cpu, start = running.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (running.cpu_s() - cpu) / (time.monotonic() - start) * 100


def _delays_ms(sink: Sink, events: int) -> list[float]:
    until(lambda: sink.taken().events >= events, every_s=0.5)
    return [delay * 1e3 for delay in sink.taken().delays_s]


def _delay_rows(name: str, delays: list[float], with_goal: int, goal: float) -> Iterator[Row]:
    cuts = statistics.quantiles(delays, n=100)
    for percent in (50, 95, 99):
        value = cuts[percent - 1]
        line = f"{name}: enqueued to posted, p{percent}"
        if percent == with_goal:
            yield Row(line, value, "ms", f"< {goal:g}", value < goal)
        else:
            yield Row(line, value, "ms")
