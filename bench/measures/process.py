"""What the process itself costs: its memory at the worst, and its start."""

import statistics
import time
from collections.abc import Iterator

from bench.hub import Load
from bench.rig import SOURCE, open_forwarder, open_hub, open_sink, until
from bench.rows import MIB, Programs, Row, Scale


def memory(_programs: Programs, _scale: Scale) -> Iterator[Row]:
    """Measure RSS with a sink that accepts nothing, and 32 partitions full of 1 MB hub events."""
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
    """Measure the time from exec to /readyz, the programs interleaved."""
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
