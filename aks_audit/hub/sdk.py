"""Everything that holds on to azure-eventhub itself: conversion, and its private parts.

The SDK has no public way to some of what a forwarder must have. Whatever touches a private name
of it stands here, is named in `PRIVATE_NAMES`, and is checked at the start; pyproject.toml pins
the SDK for that reason. Read and tried with azure-eventhub 5.15.1.
"""

import asyncio
import importlib
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.amqp import AmqpMessageBodyType

from ..errors import Fatal
from ..model import HubEvent
from .sections import decode
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


def size_of(event: EventData) -> int:
    """The bytes of a message's body, without copying them where AKS has sent it."""
    if event.body_type is AmqpMessageBodyType.DATA:
        parts: Any = event.body
        return sum(map(len, parts))
    return len(body_of(event))


# ---- errors ------------------------------------------------------------------------------------

_STOLEN = re.compile(r"link:stolen|higher epoch|epoch receiver", re.IGNORECASE)
"""What Event Hubs says to a reader that another one displaces, or that it refuses for another one.
The SDK's public errors keep the text only (azure-event-hubs-python #77)."""


def displaced(error: Exception) -> bool:
    """Whether a partition cannot be read because another reader has it."""
    return _STOLEN.search(str(error)) is not None


# ---- private parts -----------------------------------------------------------------------------

_SESSIONS = "azure.eventhub._pyamqp.aio._session_async"
"""Where the class of the links is looked up when a link is made."""
_LINKS = "azure.eventhub._pyamqp.aio._receiver_async"
"""Where it is defined, and where a link looks its decoder up."""
_CONSUMERS = "azure.eventhub.aio._consumer_async"
_CLIENTS = "azure.eventhub._pyamqp.aio._client_async"
_SYNC_CLIENTS = "azure.eventhub._pyamqp.client"
_CONNECTIONS = "azure.eventhub._pyamqp.aio._connection_async"
_TRANSPORTS = "azure.eventhub._pyamqp.aio._transport_async"
_ERRORS = "azure.eventhub._pyamqp.error"

_DECODER = "azure.eventhub._pyamqp._decode"
"""Where the decoder is defined."""

_FRAME_HEADER_BYTES = 8

PRIVATE_NAMES = (
    f"{_DECODER}:decode_payload",
    f"{_LINKS}:decode_payload",
    f"{_SESSIONS}:ReceiverLink",
    f"{_LINKS}:ReceiverLink._received_delivery_tags",
    "azure.eventhub.aio:EventHubConsumerClient._create_consumer",
    f"{_CONSUMERS}:EventHubConsumer.receive",
    f"{_CONSUMERS}:EventHubConsumer.running",
    f"{_CONSUMERS}:EventHubConsumer._open",
    f"{_CONSUMERS}:EventHubConsumer._handler",
    f"{_CONSUMERS}:EventHubConsumer._handle_exception",
    f"{_CONSUMERS}:EventHubConsumer._keep_alive",
    f"{_CONSUMERS}:EventHubConsumer._offset",
    f"{_CONSUMERS}:EventHubConsumer._offset_inclusive",
    f"{_CONSUMERS}:EventHubConsumer._partition",
    f"{_CONSUMERS}:EventHubConsumer._message_buffer",
    f"{_CONSUMERS}:EventHubConsumer._next_message_in_buffer",
    f"{_CONSUMERS}:EventHubConsumer._last_received_event",
    f"{_CONSUMERS}:EventHubConsumer._on_event_received",
    f"{_CLIENTS}:AMQPClientAsync.client_ready_async",
    f"{_SYNC_CLIENTS}:AMQPClient._connection",
    f"{_SYNC_CLIENTS}:AMQPClient._link",
    f"{_CONNECTIONS}:Connection.listen",
    f"{_CONNECTIONS}:Connection._transport",
    f"{_TRANSPORTS}:AsyncTransport.reader",
    f"{_TRANSPORTS}:AsyncTransport._read_buffer",
    "asyncio:StreamReader._buffer",
    "azure.eventhub._pyamqp.aio._link_async:Link.flow",
    "azure.eventhub._pyamqp.aio._link_async:Link.current_link_credit",
    f"{_ERRORS}:AMQPException",
    f"{_ERRORS}:AMQPLinkError",
    f"{_ERRORS}:ErrorCondition.LinkStolen",
)
"""The private names that are used or replaced below, as module:name; the last part may be an
attribute that the class sets in its ``__init__``."""


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


Read = Callable[["PartitionLink"], Awaitable[None]]
"""async (link) -> None: read a partition until it is cancelled, or cannot be read"""


def decode_whatever_comes() -> None:
    """Have the links decode each message as far as that is possible.

    The SDK's decoder is recursive, and what it raises ends the link of the partition, each time
    the message comes (`_pyamqp/aio/_receiver_async.py`, ``_incoming_transfer``).
    """
    links: Any = importlib.import_module(_LINKS)
    decoder: Any = importlib.import_module(_DECODER).decode_payload
    links.decode_payload = partial(decode, decoder=decoder)


def read_with(client: EventHubConsumerClient, read: Read) -> None:
    """Have a client's partitions read by a function of ours.

    The SDK's own loop (`aio/_transport/_pyamqp_transport_async.py`, ``_receive_task`` and
    ``_callback_task``) cannot give credit as messages come, because it always gives the same. It
    sleeps 50 ms between any two steps. And it takes any failure to open a partition's link for a
    close ("exit by close") and begins anew at once, for ever: an unknown consumer group or a
    missing right shows as silence, at the cost of a core. There is no public way to any of that.
    """
    untyped: Any = client
    create = untyped._create_consumer

    def create_consumer(*args: Any, **kwargs: Any) -> Any:
        consumer = create(*args, **kwargs)
        # Its keep-alive would read on while a callback waits for room, up to all of the credit.
        consumer._keep_alive = None

        async def receive(batch: bool, _max_size: int, _max_wait_s: float | None) -> None:  # noqa: FBT001 - the SDK's own signature
            await read(PartitionLink(consumer, batch=bool(batch)))

        consumer.receive = receive
        return consumer

    untyped._create_consumer = create_consumer


class PartitionLink:
    """The private parts of the SDK that reading one partition takes, and no policy.

    Args:
        consumer: The SDK's consumer of the partition.
        batch: Whether its callback takes lists of events.
    """

    def __init__(self, consumer: Any, *, batch: bool) -> None:
        self._consumer = consumer
        self._batch = batch
        self.partition: str = consumer._partition

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return bool(self._consumer.running)

    async def open(self) -> None:
        """Open it at the event that was taken last. Raises what the SDK raises."""
        await self._consumer._open()

    async def ready(self) -> bool:
        """Renew the token if it is time; returns whether events can come.

        Raises what the SDK raises, for example that the hub has detached the link.
        """
        return bool(await self._consumer._handler.client_ready_async())

    @property
    def credit(self) -> int:
        """How many messages the hub may still send; less than nothing after a reduction."""
        return int(self._consumer._handler._link.current_link_credit)

    async def grant(self, credit: int) -> None:
        """Tell the hub how many messages it may send from now on. Raises what the SDK raises."""
        await self._consumer._handler._link.flow(link_credit=credit)

    async def listen(self, wait_s: float) -> None:
        """Read one frame, or none in ``wait_s``. Raises what the SDK raises.

        A frame that is there as a whole is read without a timeout, which costs a task. In Python
        3.11 a timeout may also swallow a cancellation (`asyncio.wait_for`).
        """
        connection = self._consumer._handler._connection
        await connection.listen(wait=True if self.has_frame() else wait_s)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    def has_frame(self) -> bool:
        """Whether a whole frame can be read without waiting; False where that is not known."""
        transport = self._consumer._handler._connection._transport
        left = transport._read_buffer
        if left.tell() != left.getbuffer().nbytes:  # of a frame that was not whole
            return False
        data: bytes = getattr(getattr(transport, "reader", None), "_buffer", b"")
        size = int.from_bytes(data[:4], "big")  # AMQP 1.0, 2.3.1
        return bool(_FRAME_HEADER_BYTES <= size <= len(data))

    def take(self) -> list[EventData]:
        """The events that came since the last call. An opening begins with the last of them."""
        consumer = self._consumer
        events: list[EventData] = [
            consumer._next_message_in_buffer() for _ in range(len(consumer._message_buffer))
        ]
        if events:
            # A link that is opened again begins with the event that was received last. Where the
            # stream was replaced meanwhile, an offset may lie anywhere in it; by its sequence
            # number this very event must come again, or the stream is not the same.
            consumer._offset = events[-1].sequence_number
            consumer._offset_inclusive = True
            consumer._last_received_event = None  # it would be kept until the next one comes
        return events

    async def call_back(self, events: list[EventData]) -> None:
        """Hand events over, or the sign that there are none. Raises what the callback raises."""
        call = self._consumer._on_event_received
        if self._batch:
            await call(events)
            return
        if not events:
            await call(None)
        for event in events:
            await call(event)

    async def keep_alive(self) -> None:
        """Send the hub an empty frame, if it is time for one, and read nothing.

        Any fault is met again by whoever reads next.
        """
        if self.is_open:
            with suppress(importlib.import_module(_ERRORS).AMQPException):
                await self._consumer._handler._connection.listen(batch=0)

    def is_final(self, error: Exception) -> bool:
        """Whether another reader has the partition, or the SDK lacks a package."""
        errors: Any = importlib.import_module(_ERRORS)
        stolen = isinstance(error, errors.AMQPLinkError) and (
            error.condition == errors.ErrorCondition.LinkStolen
        )
        return stolen or isinstance(error, ImportError)

    async def shut(self, error: Exception) -> Exception:
        """Close the link after an error; returns it, or raises it, as a public error."""
        failure: Exception = await self._consumer._handle_exception(error)
        return failure
