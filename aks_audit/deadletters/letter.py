"""A dead letter: an undeliverable event with its bytes, its origin and the reason."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from ..model import Item

SUFFIX = ".jsonl"


class DeadLetter(msgspec.Struct, frozen=True, rename="camel"):
    """One undeliverable event, as it is kept: a line of a segment."""

    body: bytes
    """The original bytes, Base64 in the file: an audit event, or what was to hold some."""
    kind: str
    """``audit-event``, or ``raw`` for what could not be read as such."""
    reason: str
    """The class of the fault, such as ``rejected`` or ``broken-audit``: what filters go by."""
    detail: str
    """For people: what the endpoint or the parser said."""
    partition: str
    sequence_number: int
    offset: str
    enqueued_at: datetime
    dead_at: datetime
    status: int | None = None
    """The HTTP status, where the endpoint answered."""
    attempts: int = 0
    """How many POSTs carried it, split batches included."""
    audit_id: str = ""
    stage: str = ""
    cluster: str = ""
    category: str = ""


def letter_of(
    item: Item, reason: str, detail: str, *, status: int | None = None, attempts: int = 0
) -> DeadLetter:
    """The dead letter of an event that is given up now."""
    event, ticket = item.event, item.ticket
    return DeadLetter(
        body=event.raw,
        kind="audit-event" if event.audit_id else "raw",
        reason=reason,
        detail=detail,
        partition=ticket.partition,
        sequence_number=ticket.position.sequence_number,
        offset=ticket.position.offset,
        enqueued_at=datetime.fromtimestamp(item.enqueued_at, UTC),
        dead_at=datetime.now(UTC),
        status=status,
        attempts=attempts,
        audit_id=event.audit_id,
        stage=event.stage,
        cluster=event.cluster,
        category=event.category,
    )


def segment_name(moment: datetime) -> str:
    """A new name for a segment; names sort by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:12]}{SUFFIX}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(DeadLetter)


def encode(letters: Sequence[DeadLetter]) -> bytes:
    """The lines of a segment."""
    return _encoder.encode_lines(letters)


def decode(data: bytes) -> list[DeadLetter]:
    """The dead letters of a segment. Raises ValueError for one that is damaged."""
    if not data.endswith(b"\n"):
        raise ValueError("the segment is cut: its last line does not end")
    try:
        return _decoder.decode_lines(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
