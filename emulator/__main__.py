"""The command line: `python -m emulator --hub audit:4 --port 5672`."""

from __future__ import annotations

import signal
from pathlib import Path

import click
import trio

from .broker import Broker
from .server import Emulator, serve

_MEGABYTE, _KILOBYTE = 1024 * 1024, 1024


class HubType(click.ParamType[tuple[str, int]]):
    """A hub as the command line names it: `name` or `name:partitions`."""

    name = "name[:partitions]"

    def convert(
        self,
        value: str | tuple[str, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, int]:
        """Return name and partition count; fails the command for anything else."""
        if isinstance(value, tuple):
            return value
        hub, _, count = value.partition(":")
        partitions = int(count) if count.isdecimal() else 0
        if not count:
            partitions = 1
        if not hub or partitions < 1:
            self.fail(f"{value!r} is not a name and a number of partitions", param, ctx)
        return hub, partitions


@click.command()
@click.option(
    "--hub", "hubs", type=HubType(), multiple=True, required=True, help="May be repeated."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5672, show_default=True, help="0 takes any free one.")
@click.option("--port-file", type=click.Path(path_type=Path), help="Write the port to this file.")
@click.option("--retention-mb", default=256, show_default=True, help="Kept per hub.")
@click.option("--max-message-kb", default=1024, show_default=True, help="Largest message taken.")
def main(
    hubs: tuple[tuple[str, int], ...],
    host: str,
    port: int,
    port_file: Path | None,
    retention_mb: int,
    max_message_kb: int,
) -> None:
    """Serve event hubs in memory and print the connection string once ready."""
    broker = Broker(dict(hubs), retention_bytes=retention_mb * _MEGABYTE)
    failed: list[BaseException] = []
    try:
        trio.run(_main, broker, host, port, port_file, max_message_kb * _KILOBYTE)
    except* OSError as group:
        failed += group.exceptions
    if failed:
        raise click.ClickException(f"cannot listen on {host}:{port}: {failed[0]}")


async def _main(
    broker: Broker, host: str, port: int, port_file: Path | None, max_message_bytes: int
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Emulator]) -> None:
                await serve(
                    broker,
                    host,
                    port,
                    max_message_bytes=max_message_bytes,
                    task_status=task_status,
                )

            emulator: Emulator = await nursery.start(run)
            if port_file is not None:
                await trio.Path(port_file).write_text(f"{emulator.port}\n")
            click.echo(emulator.connection_string)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    main(prog_name="python -m emulator")
