"""One busy partition among many; what many partitions cost at the start, at rest, at the end."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.hub import Load
from bench.measures.latency import rest
from bench.rig import Program, open_forwarder, open_hub, open_sink, until
from bench.rows import Programs, Row, Scale

MANY = 256
HOT_BODIES = 8000
"""Hub events of the backlog, all in one partition: more than are forwarded in the window."""
OPENING_S = 4.0
"""From the first POST until all other partitions are open as well."""
WINDOW_S = 6.0
"""How long the rate of the hot partition is measured."""
HOT_GOAL = 10_000
SETTLE_S = 15.0
"""From the first events of all partitions to a measurement at rest: a round of load balancing."""


@dataclass(frozen=True, slots=True)
class Course:
    """A forwarder's life with many partitions."""

    start_s: float
    """From exec until a hub event of each partition has arrived."""
    resting: float
    """CPU at rest, in per cent of a core."""
    stop_s: float
    """From SIGTERM to the end of the process."""


def partitions(programs: Programs, scale: Scale) -> Iterator[Row]:
    """Measure one hot partition, then the start, the rest and the stop; programs interleaved."""
    hot: dict[tuple[int, str], list[float]] = {}
    lives: dict[str, list[Course]] = {name: [] for name in programs}
    for _ in range(scale.repeat):
        for name, program in programs.items():
            for count in (4, 32, MANY):
                hot.setdefault((count, name), []).append(_hot_rate(program, count))
            lives[name].append(_course(program, scale.rest_s))
    yield from _hot_rows(hot)
    for name, some in lives.items():
        yield from _course_rows(name, some)


def _hot_rate(program: Program, count: int) -> float:
    """Return the audit events a second of one partition, while the others have none."""
    load = Load(count, HOT_BODIES, hot=True)
    with (
        open_hub(load) as hub,
        open_sink() as sink,
        open_forwarder(program, hub, sink),
    ):
        until(lambda: sink.taken().events > 0, every_s=0.01)
        time.sleep(OPENING_S)
        first, start = sink.taken().events, time.monotonic()
        until(
            lambda: sink.taken().events >= load.events or time.monotonic() > start + WINDOW_S,
            every_s=0.01,
        )
        return (sink.taken().events - first) / (time.monotonic() - start)


def _course(program: Program, rest_s: float) -> Course:
    load = Load(MANY, bodies=MANY)
    with open_hub(load) as hub, open_sink() as sink:
        begun = time.monotonic()
        with open_forwarder(program, hub, sink) as running:
            until(lambda: sink.taken().events >= load.events, every_s=0.05)
            start_s = time.monotonic() - begun
            time.sleep(SETTLE_S)
            resting = rest(running, rest_s)
            begun = time.monotonic()
            running.stop()
            return Course(start_s, resting, time.monotonic() - begun)


def _hot_rows(hot: dict[tuple[int, str], list[float]]) -> Iterator[Row]:
    for (count, name), some in hot.items():
        value = statistics.median(some)
        line = f"hot partition of {count}, {name}"
        if count == MANY:
            yield Row(line, value, "events/s", f">= {HOT_GOAL}", value >= HOT_GOAL)
        else:
            yield Row(line, value, "events/s")


def _course_rows(name: str, lives: list[Course]) -> Iterator[Row]:
    def median(figure: Callable[[Course], float]) -> float:
        return statistics.median(map(figure, lives))

    what = f"{MANY} partitions, {name}"
    start_s, stop_s = median(lambda life: life.start_s), median(lambda life: life.stop_s)
    yield Row(f"start, exec to all read, {what}", start_s, "s", "<= 15", start_s <= 15)
    yield Row(f"stop, {what}", stop_s, "s", "<= 20", stop_s <= 20)
    yield Row(f"CPU at rest, {what}", median(lambda life: life.resting), "% core")
