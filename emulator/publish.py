"""`python -m emulator publish`: sends the lines of files, or whole files, as events.

It uses the SDK's own producer, so that it reaches the emulator and Azure in the same way.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, BinaryIO

import click
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.exceptions import EventHubError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from azure.eventhub import EventDataBatch

_LOCAL = (
    "Endpoint=sb://localhost:{};SharedAccessKeyName=any;SharedAccessKey=any;"
    "UseDevelopmentEmulator=true"
)


@click.command()
@click.argument("files", type=click.File("rb"), nargs=-1, required=True)
@click.option("--connection-string", help="As the emulator has printed it, or Azure's.")
@click.option("--port", type=int, help="The port of an emulator without keys on this machine.")
@click.option("--hub", help="May be left out if the connection string names it (EntityPath).")
@click.option("--partition", help="Send everything to this one.")
@click.option("--bodies", is_flag=True, help="Each file is one event.")
def publish(
    files: tuple[BinaryIO, ...],
    connection_string: str | None,
    port: int | None,
    hub: str | None,
    partition: str | None,
    bodies: bool,  # noqa: FBT001 - click passes options by name
) -> None:
    """Send each line of FILES as an event; "-" is standard input. Blank lines are left out."""
    if (connection_string is None) == (port is None):
        raise click.UsageError("give either --connection-string or --port")
    logging.getLogger("azure").addHandler(logging.NullHandler())  # errors are reported here
    producer = _producer(connection_string or _LOCAL.format(port), hub)
    sender = _Sender(producer, partition)
    try:
        with producer:
            sender.send(_bodies(files) if bodies else _lines(files))
    except (EventHubError, OSError) as error:
        text = f"cannot send to {producer.eventhub_name}: {error} ({sender.sent} events were sent)"
        raise click.ClickException(text) from error
    click.echo(f"sent {sender.sent} events to {producer.eventhub_name}")


def _producer(connection_string: str, hub: str | None) -> EventHubProducerClient:
    try:
        return EventHubProducerClient.from_connection_string(
            connection_string, eventhub_name=hub, retry_total=1
        )
    except ValueError as error:
        raise click.UsageError(f"--connection-string, --hub: {error}") from error


def _lines(files: Iterable[BinaryIO]) -> Iterator[tuple[str, bytes]]:
    """Yield where each line is, and the line."""
    for file in files:
        for number, line in enumerate(file, 1):
            if body := line.rstrip(b"\r\n"):
                yield f"{file.name}:{number}", body


def _bodies(files: Iterable[BinaryIO]) -> Iterator[tuple[str, bytes]]:
    return ((file.name, file.read()) for file in files)


class _Sender:
    """Sends events in batches, in their order; `sent` counts those that the hub has taken."""

    def __init__(self, producer: EventHubProducerClient, partition: str | None) -> None:
        self.sent = 0
        self._producer = producer
        self._partition = partition

    def send(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Send events, each given with where it is from. Raises EventHubError, ClickException."""
        batch = self._batch()
        for where, body in events:
            if not _fits(batch, body):
                self._flush(batch)
                batch = self._batch()
                if not _fits(batch, body):
                    limit = batch.max_size_in_bytes
                    text = f"{where} is larger than the hub takes ({len(body)} of {limit} bytes)"
                    raise click.ClickException(f"{text}; {self.sent} events were sent")
        self._flush(batch)

    def _batch(self) -> EventDataBatch:
        return self._producer.create_batch(partition_id=self._partition)

    def _flush(self, batch: EventDataBatch) -> None:
        if len(batch):
            self._producer.send_batch(batch)
            self.sent += len(batch)


def _fits(batch: EventDataBatch, body: bytes) -> bool:
    """Add an event to a batch; return whether there was room."""
    try:
        batch.add(EventData(body))
    except ValueError:  # the batch is full: the SDK has no other way to say so
        return False
    return True
