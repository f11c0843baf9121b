"""What flows through the stages: frozen, typed values that know no I/O.

They are msgspec structs rather than dataclasses, because one is made for every audit event. To
create a frozen struct costs a third of a frozen dataclass, and ``gc=False`` keeps hundreds of
thousands of them out of the garbage collector's rounds (they hold no cycles).
"""

import enum
from typing import Protocol

import msgspec


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a hub event stands in its partition.

    ``sequence_number`` is -1 before the first event of a partition; ``offset``
    is opaque, and ``"-1"`` there (Event Hubs: "start of stream").

    Sequence numbers and offsets begin anew in a hub that is deleted and made again, and after
    a failover without data. The other two tell whether a stream still is the one that a
    position was taken from. None means: not known.
    """

    sequence_number: int
    offset: str
    enqueued_ms: int | None = None
    """When Event Hubs took the event, in milliseconds of Unix time."""
    hub_created_ms: int | None = None
    """When the hub was created, in milliseconds of Unix time."""


START_OF_STREAM = Position(-1, "-1")


class HubEvent(msgspec.Struct, frozen=True, gc=False):
    """One message of an Event Hubs partition, as the SDK handed it over."""

    partition: str
    position: Position
    enqueued_at: float
    """Unix time in seconds at which Event Hubs took the event."""
    body: bytes


class Ticket(Protocol):
    """The ledger's note of one hub event; an audit event carries it along."""

    @property
    def partition(self) -> str:
        """The partition's id."""

    @property
    def position(self) -> Position:
        """The position of the hub event that the audit event came in."""

    def settle(self, count: int = 1) -> None:
        """Note that so many audit events of the hub event are done."""


class AuditEvent(msgspec.Struct, frozen=True, gc=False):
    """One Kubernetes audit event, ready to be posted."""

    raw: bytes
    """The JSON object, byte for byte as the API server wrote it."""
    audit_id: str
    stage: str
    cluster: str = ""
    """The AKS cluster's name, in lower case; empty where the record names none."""
    category: str = ""
    """The record's category, which is only a hint (Azure/AKS #4750)."""
    salvaged: bool = False
    """Whether it came cut and was rebuilt: what it lacks may have been cut off."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """An audit event on its way to Falco, with the ticket that it settles."""

    event: AuditEvent
    ticket: Ticket
    enqueued_at: float
    """Unix time in seconds at which Event Hubs took the hub event."""

    def where(self) -> dict[str, str | int]:
        """Where its hub event stands, for a log line."""
        return {
            "partition": self.ticket.partition,
            "sequence_number": self.ticket.position.sequence_number,
        }


class Skip(enum.StrEnum):
    """Why a record or a body is not forwarded: the label ``reason`` of a metric."""

    KLOG = "klog"
    """Text of a Kubernetes component's log, such as klog lines."""
    NOT_AUDIT = "not-audit"
    """Valid JSON that is not an audit event."""
    NO_LOG = "no-log"
    """A record without a log: other resources share the hub."""
    EMPTY = "empty"
    """A body or a log of no bytes or of white space only."""
    BROKEN_BODY = "broken-body"
    """A body that is not JSON."""
    NOT_ENVELOPE = "not-envelope"
    """A body that is JSON, but not {"records": […]}."""
    CUT_BODY = "cut-body"
    """An envelope that ends too early or is malformed: the records in it that can be read are."""
    BROKEN_RECORD = "broken-record"
    """A record with types that the envelope does not allow."""
    BROKEN_AUDIT = "broken-audit"
    """Begins like an audit event, but is cut or otherwise not valid."""
    TOO_DEEP = "too-deep"
    """Nested deeper than Falco's parser takes."""
    TOO_LARGE = "too-large"
    """More bytes than Falco takes of one event (MAXEVENTBYTES)."""


FAULTS = frozenset(
    {
        Skip.BROKEN_BODY,
        Skip.NOT_ENVELOPE,
        Skip.CUT_BODY,
        Skip.BROKEN_RECORD,
        Skip.BROKEN_AUDIT,
        Skip.TOO_DEEP,
        Skip.TOO_LARGE,
    }
)
"""Skips that may hide an audit event: they become dead letters, the others are only counted."""


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A record that is not forwarded, and why."""

    reason: Skip
    category: str
    """The record's category, or an empty string where there is none."""
    record: int
    """The index of the record in its hub event."""
    detail: str = ""
    """For people: what is wrong; never content of the event."""
    raw: bytes = b""
    """For a fault, the bytes that could not be read: the log, the record or the whole body."""
    audit_id: str = ""
    """The audit event's id, where it could be read."""


class Outcome(enum.StrEnum):
    """What became of an audit event; all of them make it done."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead-lettered"
    """Kept aside: the dead-letter store has confirmed it."""
    DROPPED = "dropped"
    """Given up after the last retry, as POSTEXHAUSTED=drop asks."""
