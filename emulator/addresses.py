"""The addresses that links name: `<hub>/ConsumerGroups/<group>/Partitions/<n>` and its parts."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .errors import NOT_FOUND, RefusedError

CBS, MANAGEMENT = "$cbs", "$management"


@dataclass(frozen=True, slots=True)
class Address:
    """What an address names; `group` and `partition` are None where it does not say."""

    hub: str
    group: str | None = None
    partition: str | None = None


def path_of(address: str) -> str:
    """Return an address without scheme and host, which clients may or may not send."""
    path = urlsplit(address).path if "://" in address else address
    return unquote(path).strip("/")


def parse_source(address: str) -> Address:
    """Parse the address of a receiver: one partition, as seen by a consumer group."""
    match path_of(address).split("/"):
        case [hub, groups, group, partitions, partition] if (
            groups.lower() == "consumergroups" and partitions.lower() == "partitions"
        ):
            return Address(hub, group, partition)
    raise _not_found(address)


def parse_target(address: str) -> Address:
    """Parse the address of a sender: a hub, or one of its partitions."""
    match path_of(address).split("/"):
        case [hub] if hub:
            return Address(hub)
        case [hub, partitions, partition] if partitions.lower() == "partitions":
            return Address(hub, None, partition)
    raise _not_found(address)


def _not_found(address: str) -> RefusedError:
    return RefusedError(NOT_FOUND, f"The messaging entity '{address}' could not be found.")
