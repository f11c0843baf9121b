"""Who may read a partition: owner levels ("epochs") and the limit on readers without one. No I/O.

A receiver with an epoch reads alone within its consumer group: it disconnects those
without one and the one with an equal or lower epoch, and is itself refused while there is
a higher one. A receiver without an epoch is refused while there is one with it.
(https://learn.microsoft.com/azure/event-hubs/event-hubs-event-processor-host#epoch; condition
and wording as the service's, see Azure/azure-event-hubs-python issue 77 and
Azure/azure-sdk-for-js issue 15893.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import LINK_STOLEN, RESOURCE_LIMIT_EXCEEDED, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .partition import Partition

MAX_RECEIVERS = 5
"""Receivers without an epoch that the service allows on a partition in one consumer group."""

_HIGHER_EXISTS = (
    "Receiver 'nil' with a higher epoch '{existing}' already exists. Receiver 'nil' with epoch "
    "{new} cannot be created. Make sure you are creating receiver with increasing epoch value to "
    "ensure connectivity, or ensure all old epoch receivers are closed or disconnected."
)
_NEEDS_EPOCH = (
    "At least one receiver for the endpoint is created with epoch of '{existing}', and so "
    "non-epoch receiver is not allowed. Either reconnect with a higher epoch, or make sure all "
    "epoch receivers are closed or disconnected."
)
_STOLEN = (
    "New receiver 'nil' with higher epoch of '{new}' is created hence current receiver 'nil' with "
    "epoch '{existing}' is getting disconnected. If you are recreating the receiver, make sure a "
    "higher epoch is used."
)
_TOO_MANY = (
    "Exceeded the maximum number of allowed receivers per partition in a consumer group which is "
    f"{MAX_RECEIVERS}."
)


@dataclass(frozen=True, slots=True, eq=False)
class Receiver:
    """An open receiver. `disconnect` detaches its link with a condition and a description."""

    partition: Partition
    group: str
    epoch: int | None
    disconnect: Callable[[str, str], None]


class Receivers:
    """The open receivers of all partitions."""

    def __init__(self) -> None:
        self._open: dict[tuple[Partition, str], list[Receiver]] = {}

    def __iter__(self) -> Iterator[Receiver]:
        return (receiver for group in list(self._open.values()) for receiver in list(group))

    def add(self, new: Receiver) -> None:
        """Admit a receiver, disconnecting those it displaces; raises RefusedError if refused."""
        key = (new.partition, new.group.lower())
        others = self._open.get(key, [])
        if new.epoch is None:
            _check_without_epoch(others)
        else:
            _check_epoch(new.epoch, others)
            for existing in list(others):
                others.remove(existing)
                text = _STOLEN.format(new=new.epoch, existing=existing.epoch)
                existing.disconnect(LINK_STOLEN, text)
        others.append(new)
        self._open[key] = others

    def discard(self, receiver: Receiver) -> None:
        """Forget a receiver whose link is gone; one that was displaced already is not an error."""
        key = (receiver.partition, receiver.group.lower())
        others = self._open.get(key, [])
        if receiver in others:
            others.remove(receiver)
        if not others:
            self._open.pop(key, None)  # the partition may be that of a hub that was recreated


def _check_epoch(epoch: int, others: list[Receiver]) -> None:
    for other in others:
        if other.epoch is not None and other.epoch > epoch:
            text = _HIGHER_EXISTS.format(existing=other.epoch, new=epoch)
            raise RefusedError(LINK_STOLEN, text)


def _check_without_epoch(others: list[Receiver]) -> None:
    for other in others:
        if other.epoch is not None:
            raise RefusedError(LINK_STOLEN, _NEEDS_EPOCH.format(existing=other.epoch))
    if len(others) >= MAX_RECEIVERS:
        raise RefusedError(RESOURCE_LIMIT_EXCEEDED, _TOO_MANY)
