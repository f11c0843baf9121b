"""Where a receiver starts: the selector on its link, parsed into a position.

The service knows one shape of selector, a comparison of one annotation with a
value, as the SDKs write it (azure-eventhub, `_utils.event_position_selector`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from .errors import ARGUMENT_ERROR, RefusedError

SELECTOR_FILTER = "apache.org:selector-filter:string"
"""Key, and descriptor, of the selector in the filter set of a source."""

EARLIEST_OFFSET, LATEST_OFFSET = "-1", "@latest"

_SELECTOR = re.compile(
    r"amqp\.annotation\.x-opt-(?P<field>sequence-number|offset|enqueued-time) *"
    r"(?P<operator>>=|>) *'(?P<value>[^']*)'"
)


class Field(Enum):
    """What a position refers to."""

    SEQUENCE_NUMBER = "sequence-number"
    OFFSET = "offset"
    ENQUEUED_TIME = "enqueued-time"  # milliseconds since the Unix epoch
    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a partition: everything above `value` of `field`, or from it if `inclusive`."""

    field: Field
    value: int = 0
    inclusive: bool = False


EARLIEST = Position(Field.EARLIEST)
LATEST = Position(Field.LATEST)


def parse_selector(selector: str, offset_prefix: str = "") -> Position:
    """Parse a selector; raises RefusedError for one that the service would not take.

    `offset_prefix` is what the offsets of the partition begin with.
    """
    match = _SELECTOR.fullmatch(selector.strip())
    if match is None:
        raise RefusedError(ARGUMENT_ERROR, f"the filter {selector!r} is not supported")
    field, value = Field(match["field"]), match["value"]
    if value == LATEST_OFFSET:
        return LATEST
    if field is Field.OFFSET and value == EARLIEST_OFFSET:
        return EARLIEST
    prefix = offset_prefix if field is Field.OFFSET else ""
    try:
        number = int(value.removeprefix(prefix))
    except ValueError:
        raise RefusedError(ARGUMENT_ERROR, f"{value!r} in the filter is not a number") from None
    if not value.startswith(prefix):
        text = f"The supplied offset '{value}' is invalid. Offsets begin with '{prefix}'"
        raise RefusedError(ARGUMENT_ERROR, text)
    return Position(field, number, inclusive=match["operator"] == ">=")
