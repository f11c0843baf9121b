"""The command line: `python -m emulator --hub audit:4 --port 5672`, and `publish`."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from . import server
from .broker import Broker
from .publish import publish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


class KeyType(click.ParamType[tuple[str, str]]):
    """A key as the command line names it: `NAME=KEY`."""

    name = "NAME=KEY"

    def convert(
        self,
        value: str | tuple[str, str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        """Return name and key; fails the command for anything else."""
        if isinstance(value, tuple):
            return value
        name, _, key = value.partition("=")  # a key may end with "=" itself
        if not name or not key or ";" in value:
            self.fail("it is not a key's name and a key, as in NAME=KEY", param, ctx)
        return name, key


class DefaultGroup(click.Group):
    """Commands of which `serve` is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the default command before the options of a nameless one."""
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["serve", *args])


@click.group(cls=DefaultGroup)
def main() -> None:
    """Run an Event Hubs emulator, or send events to one; without a command: serve."""


main.add_command(publish)


@main.command()
@click.option(
    "--hub", "hubs", type=HubType(), multiple=True, required=True, help="May be repeated."
)
@click.option(
    "--group", "groups", multiple=True, help="A consumer group besides $Default; without any, all."
)
@click.option(
    "--key",
    "keys",
    type=KeyType(),
    multiple=True,
    help="A key that tokens may be signed with; without any, none is asked for.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5672, show_default=True, help="0 takes any free one.")
@click.option("--port-file", type=click.Path(path_type=Path), help="Write the port to this file.")
@click.option("--retention-mb", default=256, show_default=True, help="Kept per hub.")
@click.option("--max-message-kb", default=1024, show_default=True, help="Largest message taken.")
def serve(
    hubs: tuple[tuple[str, int], ...],
    groups: tuple[str, ...],
    keys: tuple[tuple[str, str], ...],
    host: str,
    port: int,
    port_file: Path | None,
    retention_mb: int,
    max_message_kb: int,
) -> None:
    """Serve event hubs in memory and print the connection string once ready."""
    broker = Broker(
        dict(hubs), retention_bytes=retention_mb * _MEGABYTE, groups=list(groups) or None
    )
    run = partial(
        server.serve,
        broker,
        host,
        port,
        max_message_bytes=max_message_kb * _KILOBYTE,
        keys=dict(keys),
    )
    failed: list[BaseException] = []
    try:
        trio.run(_main, run, port_file)
    except* OSError as group:
        failed += group.exceptions
    if failed:
        raise click.ClickException(f"cannot listen on {host}:{port}: {failed[0]}")


async def _main(run: Callable[..., Awaitable[None]], port_file: Path | None) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            emulator: server.Emulator = await nursery.start(run)
            if port_file is not None:
                await trio.Path(port_file).write_text(f"{emulator.port}\n")
            click.echo(emulator.connection_string)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    main(prog_name="python -m emulator")
