"""The state of a running emulator at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .service import Service


@dataclass(frozen=True, slots=True)
class PartitionCounters:
    """One partition: the events it keeps and their encoded size in bytes.

    `last_sequence_number` is -1 if there never was an event.
    """

    hub: str
    partition: str
    events: int
    size_bytes: int
    first_sequence_number: int
    last_sequence_number: int


@dataclass(frozen=True, slots=True)
class ReceiverCounters:
    """One open receiver; `epoch` is None for one without an owner level."""

    hub: str
    partition: str
    group: str
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Counters:
    """All of an emulator: its open connections, its partitions, its open receivers.

    `refused_tokens` counts the tokens refused since the start, by a fault or for what they are.
    """

    connections: int
    refused_tokens: int
    partitions: tuple[PartitionCounters, ...]
    receivers: tuple[ReceiverCounters, ...]


def count(service: Service, connections: int) -> Counters:
    """Take the counters of a service that has so many open connections."""
    with service.broker.lock:
        partitions = tuple(
            PartitionCounters(
                hub.name,
                partition.id,
                len(partition),
                partition.size_bytes,
                partition.first_sequence_number,
                partition.last_sequence_number,
            )
            for hub in service.broker.hubs
            for partition in hub.partitions
        )
    described = tuple(
        ReceiverCounters(each.partition.hub, each.partition.id, each.group, each.epoch)
        for each in service.receivers
    )
    return Counters(connections, service.refused_tokens, partitions, described)
