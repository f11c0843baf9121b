"""`python -m demo`: the whole path on one machine, without Azure and without configuration."""

import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import click
import trio
from rich.console import Console

from demo.errors import DemoError
from demo.run import HUB, LOG_NAME, Plan, run
from demo.show import plain, progress, summary
from emulator import ThreadedEmulator
from testkit.falco import Settings, ThreadedFalco
from testkit.streams.stream import Stream

_PARTITIONS = 4
_INTERRUPTED = 130
_LOG_LINES = 25


@click.command()
@click.option("--events", default=20_000, show_default=True, help="audit events to publish")
@click.option("--seconds", default=10.0, show_default=True, help="over which they are published")
@click.option("--deadline", default=60.0, show_default=True, help="seconds until the run is ended")
@click.option("--seed", default=1, show_default=True, help="of the stream")
def main(*, events: int, seconds: float, deadline: float, seed: int) -> None:
    """Publish an AKS audit stream to an emulated hub, and have it forwarded to a stand-in Falco."""
    console = Console()
    stream = list(Stream(seed=seed, partitions=_PARTITIONS, records=(1, 14)).take(events))
    plan = Plan(stream=stream, seconds=seconds, deadline=deadline)
    with ThreadedEmulator({HUB: _PARTITIONS}) as hub, ThreadedFalco(settings=Settings()) as falco:
        sys.exit(trio.run(_demo, plan, hub.connection_string, falco, console))


async def _demo(plan: Plan, connection_string: str, falco: ThreadedFalco, console: Console) -> int:
    """Run it, unless a signal comes first; return the exit status."""
    status = _INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_signal, signals, nursery.cancel_scope)
            status = await _run_and_tell(plan, connection_string, falco, console)
            nursery.cancel_scope.cancel()
    if status == _INTERRUPTED:
        plain(console, "interrupted")
    return status


async def _cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _run_and_tell(
    plan: Plan, connection_string: str, falco: ThreadedFalco, console: Console
) -> int:
    with tempfile.TemporaryDirectory(prefix="aks-audit-demo-") as name:
        directory = Path(name)
        status = 0
        try:
            with progress(console) as show:
                result = await run(plan, connection_string, falco, directory, show)
            summary(console, result)
            status = 1 if result.problems else 0
        except* DemoError as group:
            for error in group.exceptions:
                plain(console, f"problem: {error}")
            status = 1
        if status:
            _show_log(console, directory / LOG_NAME)
    return status


def _show_log(console: Console, log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    plain(console, "the forwarder's log ends with:")
    for line in lines:
        plain(console, line)


if __name__ == "__main__":
    main()
