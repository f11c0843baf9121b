"""Hub events as the SDK has them, and as the stages want them. Pure."""

import time
from typing import Any

import msgspec
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpMessageBodyType

from ..model import HubEvent, Position

TYPICAL_BYTES = 256 * 1024
"""What a message is taken to measure when credit is given. AKS sends some 32 KB: eight times
that leaves room for larger ones, and is enough credit to keep the senders busy (the SDK uses
its credit up once in 50 ms)."""
MESSAGE_MAX_BYTES = 1024 * 1024
"""The largest message of the Standard and Premium tiers."""
PREFETCH_MAX = 300
"""The SDK's own default: more only costs memory."""


def limits(inflight_max_bytes: int, partitions: int) -> tuple[int, int]:
    """The SDK's prefetch and batch size, such that its buffers hold half the bytes in flight.

    Credit counts messages, so the bound holds for messages of `TYPICAL_BYTES`
    on average. Only while callbacks wait can more gather: ``prefetch`` messages
    of a partition (the SDK's keep-alive reads on, up to its credit) and two
    batches. Were all of these of the maximum size, they would still hold no
    more than twice the bytes in flight, with 32 partitions and INFLIGHTMAXBYTES
    at 64 MiB 4 MB each; more partitions than that have one message of credit.
    """
    share = inflight_max_bytes // 2 // max(1, partitions)
    batch = max(1, min(PREFETCH_MAX, share // 4 // MESSAGE_MAX_BYTES))
    largest = 4 * share // MESSAGE_MAX_BYTES - 2 * batch
    prefetch = max(1, min(PREFETCH_MAX, share // TYPICAL_BYTES, largest))
    return prefetch, min(batch, prefetch)


def to_hub_event(partition: str, event: EventData) -> HubEvent:
    """Copy out of the SDK's event what the stages need."""
    enqueued = event.enqueued_time
    return HubEvent(
        partition,
        Position(event.sequence_number or 0, event.offset or ""),
        enqueued.timestamp() if enqueued is not None else time.time(),
        body_of(event),
    )


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
