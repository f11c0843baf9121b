"""Everything that holds on to azure-eventhub itself: conversion, credit, and mended private parts.

The SDK has no public way to some of what a forwarder must have. Whatever touches a private name
of it stands here, is named in `PRIVATE_NAMES`, and is checked at the start; pyproject.toml pins
the SDK for that reason. Read and tried with azure-eventhub 5.15.1.
"""

import asyncio
import importlib
import time
from collections.abc import Callable
from typing import Any

import msgspec
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.amqp import AmqpMessageBodyType

from ..errors import Fatal
from ..model import HubEvent
from .stream import position_of

# ---- conversion --------------------------------------------------------------------------------


def to_hub_event(partition: str, event: EventData, hub_created_ms: int) -> HubEvent:
    """Copy out of the SDK's event what the stages need.

    An event without an enqueued time, which Event Hubs always sets, counts as enqueued now.
    """
    position = position_of(event, hub_created_ms)
    enqueued_ms = position.enqueued_ms
    enqueued_at = time.time() if enqueued_ms is None else enqueued_ms / 1000
    return HubEvent(partition, position, enqueued_at, body_of(event))


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


# ---- credit ------------------------------------------------------------------------------------

TYPICAL_BYTES = 256 * 1024
"""What a message is taken to measure when credit is given. AKS sends some 32 KB: eight times
that leaves room for larger ones, and is enough credit to keep the senders busy (the SDK uses
its credit up once in 50 ms)."""
MESSAGE_MAX_BYTES = 1024 * 1024
"""The largest message of the Standard and Premium tiers."""
PREFETCH_MAX = 300
"""The SDK's own default: more only costs memory."""


def credit(inflight_max_bytes: int, partitions: int) -> tuple[int, int]:
    """The SDK's prefetch and batch size, such that its buffers hold half the bytes in flight.

    Credit counts messages, so the bound holds for messages of `TYPICAL_BYTES` on average. More
    can gather only while callbacks wait: ``prefetch`` messages of a partition (the SDK's
    keep-alive reads on, up to its credit) and two batches. If all of these had the maximum
    size, they would still hold no more than twice the bytes in flight, with 32 partitions and
    INFLIGHTMAXBYTES at 64 MiB 4 MB each. With more partitions each has one message of credit.

    Args:
        inflight_max_bytes: INFLIGHTMAXBYTES.
        partitions: How many the hub has: all of them may become ours.

    Returns:
        ``prefetch`` and ``max_batch_size``, in messages of one partition.
    """
    share = inflight_max_bytes // 2 // max(1, partitions)
    batch = max(1, min(PREFETCH_MAX, share // 4 // MESSAGE_MAX_BYTES))
    largest = 4 * share // MESSAGE_MAX_BYTES - 2 * batch
    prefetch = max(1, min(PREFETCH_MAX, share // TYPICAL_BYTES, largest))
    return prefetch, min(batch, prefetch)


# ---- private parts -----------------------------------------------------------------------------

_SESSIONS = "azure.eventhub._pyamqp.aio._session_async"
"""Where the class of the links is looked up when a link is made."""
_LINKS = "azure.eventhub._pyamqp.aio._receiver_async"
"""Where it is defined."""

PRIVATE_NAMES = (
    f"{_SESSIONS}:ReceiverLink",
    f"{_LINKS}:ReceiverLink._received_delivery_tags",
    "azure.eventhub.aio:EventHubConsumerClient._create_consumer",
    "azure.eventhub.aio._consumer_async:EventHubConsumer._open",
    "azure.eventhub.aio._consumer_async:EventHubConsumer._offset",
    "azure.eventhub.aio._consumer_async:EventHubConsumer._offset_inclusive",
    "azure.eventhub.aio._consumer_async:EventHubConsumer._last_received_event",
)
"""The private names that are replaced below, as module:name; the last part may be an attribute
that the class sets in its ``__init__``."""

OPENING_PAUSE_S = 1.0
"""Between two attempts to open a partition."""

OpeningObserver = Callable[[str, Exception | None], None]
"""(partition, why it cannot be opened, or None when it is open)"""


def check_private_names() -> None:
    """Raise Fatal where the installed SDK lacks a private name that is relied on."""
    missing = [name for name in PRIVATE_NAMES if not _is_there(name)]
    if missing:
        raise Fatal(
            f"this version of azure-eventhub lacks {', '.join(missing)}:"
            " install the version that pyproject.toml pins"
        )


def _is_there(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return False
    for part in path.split("."):
        owner, found = found, getattr(found, part, None)
        if found is None and part in _set_by(owner):
            return True
    return found is not None


def _set_by(owner: object) -> tuple[str, ...]:
    """The names that a class uses in its ``__init__``, those of its attributes among them."""
    code = getattr(getattr(owner, "__init__", None), "__code__", None)
    return () if code is None else code.co_names


class _NothingKept(set[bytes]):
    """A set of delivery tags that nobody will ask for: it keeps none."""

    def add(self, _tag: bytes, /) -> None:
        """Keep nothing."""


def forget_delivery_tags() -> None:
    """Have the sessions that are opened from now on make links that do not grow.

    A receiver link remembers the delivery tag of every event for ever
    (`_pyamqp/aio/_receiver_async.py`, ``_received_delivery_tags``). It forgets one only when a
    delivery is settled one by one, which the Event Hubs client never does. That is some 150
    bytes an event (measured), a gigabyte a day at 100 events a second. azure-sdk-for-python
    #36398 may be about it.
    """
    sessions: Any = importlib.import_module(_SESSIONS)
    make: Any = importlib.import_module(_LINKS).ReceiverLink

    def make_link(*args: Any, **kwargs: Any) -> Any:
        link = make(*args, **kwargs)
        link._received_delivery_tags = _NothingKept()
        return link

    sessions.ReceiverLink = make_link


def observe_openings(client: EventHubConsumerClient, observer: OpeningObserver) -> None:
    """Have a client tell how the opening of each partition goes, and pause before it retries.

    The SDK takes any failure to open a partition's link for a close
    (`aio/_transport/_pyamqp_transport_async.py`, ``_receive_task``, "exit by close"), and begins
    anew at once, for ever. An unknown consumer group or a missing right would show as silence,
    at the cost of a core. There is no public way to learn of it, so the making of the client's
    consumers is wrapped.
    """
    untyped: Any = client
    create = untyped._create_consumer

    def create_consumer(consumer_group: str, partition_id: str, *args: Any, **kwargs: Any) -> Any:
        consumer = create(consumer_group, partition_id, *args, **kwargs)
        consumer._open = _observed(consumer, partition_id, observer)
        return consumer

    untyped._create_consumer = create_consumer


def _go_on_at_last_event(consumer: Any) -> None:
    """Have a link that is opened again begin with the event that was received last.

    The SDK goes on behind its offset. Where the stream was replaced meanwhile, that offset may lie
    anywhere in it. By its sequence number the last event itself must come, or the stream is not
    the same. (After some failures the SDK begins where the claim began: "exit by close".)
    """
    last = consumer._last_received_event
    if last is not None and last.sequence_number is not None:
        consumer._offset, consumer._offset_inclusive = last.sequence_number, True


def _observed(consumer: Any, partition: str, observer: OpeningObserver) -> Any:
    attempt = consumer._open

    async def open_() -> None:
        if consumer.running:
            return
        _go_on_at_last_event(consumer)
        try:
            await attempt()
        except Exception as error:
            observer(partition, error)
            await asyncio.sleep(OPENING_PAUSE_S)
            raise
        observer(partition, None)

    return open_
