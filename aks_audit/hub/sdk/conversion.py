"""What the SDK hands over, as values of ours: events and errors. Only public names."""

import re
import time
from datetime import datetime
from typing import Any

import msgspec
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpMessageBodyType

from ...model import HubEvent, Position
from ..stream import State

_STOLEN = re.compile(r"link:stolen|higher epoch|epoch receiver", re.IGNORECASE)
"""What Event Hubs says to a reader that another one displaces, or that it refuses for another one.
The SDK's public errors keep the text only (azure-event-hubs-python #77)."""


def to_hub_event(partition: str, event: EventData, hub_created_ms: int) -> HubEvent:
    """Copy out of the SDK's event what the stages need.

    An event without an enqueued time, which Event Hubs always sets, counts as enqueued now.
    """
    position = position_of(event, hub_created_ms)
    enqueued_ms = position.enqueued_ms
    enqueued_at = time.time() if enqueued_ms is None else enqueued_ms / 1000
    return HubEvent(partition, position, enqueued_at, body_of(event))


def state_of(properties: dict[str, Any], hub_created_ms: int) -> State:
    """Read what the SDK returns of a partition's properties."""
    number: int = properties["last_enqueued_sequence_number"]
    enqueued_ms = milliseconds(properties["last_enqueued_time_utc"]) if number >= 0 else None
    last = Position(number, str(properties["last_enqueued_offset"]), enqueued_ms, hub_created_ms)
    empty: bool = properties["is_empty"]
    oldest: int = number + 1 if empty else properties["beginning_sequence_number"]
    return State(hub_created_ms, oldest, last)


def position_of(event: EventData, hub_created_ms: int | None = None) -> Position:
    """Where an event of the SDK stands, in the stream of a hub that was created then."""
    enqueued = event.enqueued_time
    enqueued_ms = None if enqueued is None else milliseconds(enqueued)
    return Position(event.sequence_number or 0, event.offset or "", enqueued_ms, hub_created_ms)


def milliseconds(moment: datetime) -> int:
    """Unix time in milliseconds, which is how exact Event Hubs is."""
    return round(moment.timestamp() * 1000)


def body_of(event: EventData) -> bytes:
    """The bytes of a message; AKS sends data sections, other producers may not."""
    body: Any = event.body
    if event.body_type is AmqpMessageBodyType.DATA:
        return b"".join(body)
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    return msgspec.json.encode(body, enc_hook=str)


def size_of(event: EventData) -> int:
    """The bytes of a message's body, without copying them where AKS has sent it."""
    if event.body_type is AmqpMessageBodyType.DATA:
        parts: Any = event.body
        return sum(map(len, parts))
    return len(body_of(event))


def displaced(error: Exception) -> bool:
    """Whether a partition cannot be read because another reader has it."""
    return _STOLEN.search(str(error)) is not None
