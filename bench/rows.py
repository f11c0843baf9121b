"""What a measurement is given, and what it yields: a row of the table."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.rig import Program

MB = 1e6
MIB = 1024**2


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
    """How much is measured: everything, or a quick look."""

    events: int
    repeat: int
    rest_s: float
    stream_s: float
    load_s: float


WHOLE = Scale(events=300_000, repeat=3, rest_s=30, stream_s=20, load_s=60)
QUICK = Scale(events=60_000, repeat=1, rest_s=5, stream_s=5, load_s=10)

Programs = Mapping[str, Program]
"""The forwarders to measure, by name; the first one is the source."""
