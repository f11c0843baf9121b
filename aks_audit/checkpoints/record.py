"""A checkpoint as the stores keep it: what is written, and what can be read of what is found. Pure.

Others write checkpoints too: version 1.0, the forwarders before it and any other SDK; and people
edit them. Go's and .NET's SDKs may leave an offset that is empty, missing or a text
(azure-sdk-for-net #42409, #43659; azure-sdk-for-java #46752), a geo-replicated hub has offsets such
as ``1:2:3``. So nothing is taken for granted but this: a sequence number is enough to go on from.
"""

import re
from collections.abc import Mapping

from ..errors import Retryable
from ..model import START_OF_STREAM, Position

_NUMBER = re.compile(r"\s*(-1|[0-9]{1,19})\s*", re.ASCII)
_MAX = 2**63 - 1

UNKNOWN_OFFSET = ""
"""The offset of a checkpoint whose own cannot be used."""


class Unusable(Retryable):
    """A checkpoint that does not say where to go on; it stops its own partition only."""


Found = Position | Unusable
"""What a store has: where a partition is done up to, or why its checkpoint cannot be used."""


def parse(known: Mapping[str, object], where: str) -> Position:
    """Read a checkpoint.

    Args:
        known: By name, in any case, as `fields` makes them; each may be missing or damaged.
        where: Names the checkpoint, for messages.

    Raises:
        Unusable: Its sequence number is missing, or is not a number.
    """
    values = {name.lower(): value for name, value in known.items()}
    number = _number(values.get("sequencenumber"))
    if number is None:
        found = values.get("sequencenumber")
        raise Unusable(
            f"the sequence number of the checkpoint {where} cannot be used"
            f" (sequencenumber is {'missing' if found is None else repr(found)}):"
            " correct it, or delete the checkpoint to begin at STARTPOSITION"
        )
    offset = _usable_offset(values.get("offset")) if number >= 0 else START_OF_STREAM.offset
    enqueued_ms, created_ms = _number(values.get("enqueued")), _number(values.get("hubcreated"))
    return Position(number, offset, enqueued_ms, created_ms)


def read(known: Mapping[str, object], where: str) -> Found:
    """Read a checkpoint as `parse` does, and return what is wrong with it instead of raising it."""
    try:
        return parse(known, where)
    except Unusable as fault:
        return fault


def usable(found: Found) -> Position:
    """Return the position, or raise Unusable."""
    if isinstance(found, Unusable):
        raise found
    return found


def fields(position: Position, writer: str) -> dict[str, str]:
    """Return what is written: the fields of every Event Hubs SDK, and ours."""
    known = {
        "offset": position.offset,
        "sequencenumber": str(position.sequence_number),
        "writer": writer,
    }
    if position.enqueued_ms is not None:
        known["enqueued"] = str(position.enqueued_ms)
    if position.hub_created_ms is not None:
        known["hubcreated"] = str(position.hub_created_ms)
    return known


def _number(value: object) -> int | None:
    """The number that a field holds, -1 or more; None where it holds something else."""
    match = _NUMBER.fullmatch(str(value))
    number = int(match[1]) if match is not None else None
    return number if number is not None and number <= _MAX else None


def _usable_offset(value: object) -> str:
    """An offset, which is opaque; texts without a digit ("no offset", "null") are not one."""
    text = str(value or "").strip()
    return text if any(each.isdecimal() for each in text) else UNKNOWN_OFFSET
