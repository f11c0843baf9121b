"""What the demo prints: live on a terminal, plain lines elsewhere, a summary at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.result import Pair, Result
from testkit.streams.expected import DEAD

_LINE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The numbers at one moment of a run."""

    published: int
    delivered: int
    skipped: int
    in_flight: int
    rate: float


Show = Callable[[Moment], None]


@contextmanager
def progress(console: Console) -> Iterator[Show]:
    """Give a function that shows a moment: in place on a terminal, else once a second."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            yield lambda moment: live.update(_table(moment))
    else:
        yield _line_printer(console)


def _line_printer(console: Console) -> Show:
    due = monotonic()

    def show(moment: Moment) -> None:
        nonlocal due
        if monotonic() >= due:
            due = monotonic() + _LINE_SECONDS
            plain(console, "  ".join(f"{name} {value}" for name, value in _cells(moment)))

    return show


def _cells(moment: Moment) -> list[tuple[str, str]]:
    return [
        ("published", f"{moment.published:,}"),
        ("delivered", f"{moment.delivered:,}"),
        ("skipped", f"{moment.skipped:,}"),
        ("in flight", f"{moment.in_flight:,}"),
        ("events/s", f"{moment.rate:,.0f}"),
    ]


def _table(moment: Moment) -> Table:
    table = Table()
    cells = _cells(moment)
    for name, _ in cells:
        table.add_column(name, justify="right", min_width=10)
    table.add_row(*(value for _, value in cells))
    return table


def summary(console: Console, result: Result) -> None:
    """Print the result; its last lines are plain, for scripts."""
    table = Table(title="From Event Hubs to Falco", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in _rows(result):
        table.add_row(name, value)
    console.print(table)
    for problem in result.problems:
        plain(console, f"problem: {problem}")
    plain(console, f"duplicates {result.duplicates}")
    plain(console, f"lost {result.lost}")


def _rows(result: Result) -> Iterator[tuple[str, str]]:
    yield "hub events", f"{result.hub_events:,} ({result.body_bytes / 1e6:,.1f} MB)"
    yield "audit events published", f"{result.published:,}"
    yield "audit events delivered", f"{result.delivered:,}"
    yield "came cut and were rebuilt", _compared(result.salvaged)
    yield "came twice, posted once", _compared(result.copies)
    for reason, pair in result.skipped.items():
        if reason not in DEAD:
            yield f"skipped: {reason}", _compared(pair)
    for reason, pair in result.dead_letters.items():
        yield f"dead letters: {reason}", _compared(pair)
    for cluster, pair in result.clusters.items():
        yield f"events of {cluster}", _compared(pair)
    yield "malformed bodies survived", f"{result.malformed:,}"
    yield "invalid bodies at Falco", f"{result.dropped:,}"
    yield "posted more than once", f"{result.duplicates:,}"
    yield "lost", f"{result.lost:,}"
    yield "events/s", f"{result.rate:,.0f}"
    quantiles = (1000 * result.latency(share) for share in (0.5, 0.95, 0.99))
    yield "latency p50 / p95 / p99", " / ".join(f"{value:,.0f}" for value in quantiles) + " ms"


def _compared(pair: Pair) -> str:
    counted, true = pair
    verdict = "as published" if counted == true else f"published: {true:,}"
    return f"{counted:,} ({verdict})"


def plain(console: Console, text: str) -> None:
    """Print text as it is: no markup, no colours, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
