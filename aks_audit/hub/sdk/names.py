"""The private names of the SDK that are relied on, and whether the installed one has them."""

import importlib
from typing import Any

from ...errors import Fatal

SESSIONS = "azure.eventhub._pyamqp.aio._session_async"
"""Where the class of the links is looked up when a link is made."""
LINKS = "azure.eventhub._pyamqp.aio._receiver_async"
"""Where it is defined, and where a link looks its decoder up."""
CONSUMERS = "azure.eventhub.aio._consumer_async"
CLIENTS = "azure.eventhub._pyamqp.aio._client_async"
SYNC_CLIENTS = "azure.eventhub._pyamqp.client"
CONNECTIONS = "azure.eventhub._pyamqp.aio._connection_async"
TRANSPORTS = "azure.eventhub._pyamqp.aio._transport_async"
ERRORS = "azure.eventhub._pyamqp.error"

DECODER = "azure.eventhub._pyamqp._decode"
"""Where the decoder is defined."""

PRIVATE_NAMES = (
    f"{DECODER}:decode_payload",
    f"{LINKS}:decode_payload",
    f"{SESSIONS}:ReceiverLink",
    f"{LINKS}:ReceiverLink._received_delivery_tags",
    "azure.eventhub.aio:EventHubConsumerClient._create_consumer",
    f"{CONSUMERS}:EventHubConsumer.receive",
    f"{CONSUMERS}:EventHubConsumer.running",
    f"{CONSUMERS}:EventHubConsumer._open",
    f"{CONSUMERS}:EventHubConsumer._handler",
    f"{CONSUMERS}:EventHubConsumer._handle_exception",
    f"{CONSUMERS}:EventHubConsumer._keep_alive",
    f"{CONSUMERS}:EventHubConsumer._offset",
    f"{CONSUMERS}:EventHubConsumer._offset_inclusive",
    f"{CONSUMERS}:EventHubConsumer._partition",
    f"{CONSUMERS}:EventHubConsumer._message_buffer",
    f"{CONSUMERS}:EventHubConsumer._next_message_in_buffer",
    f"{CONSUMERS}:EventHubConsumer._last_received_event",
    f"{CONSUMERS}:EventHubConsumer._on_event_received",
    f"{CLIENTS}:AMQPClientAsync.client_ready_async",
    f"{SYNC_CLIENTS}:AMQPClient._connection",
    f"{SYNC_CLIENTS}:AMQPClient._link",
    f"{CONNECTIONS}:Connection.listen",
    f"{CONNECTIONS}:Connection._transport",
    f"{TRANSPORTS}:AsyncTransport.reader",
    f"{TRANSPORTS}:AsyncTransport._read_buffer",
    "asyncio:StreamReader._buffer",
    "azure.eventhub._pyamqp.aio._link_async:Link.flow",
    "azure.eventhub._pyamqp.aio._link_async:Link.current_link_credit",
    f"{ERRORS}:AMQPException",
    f"{ERRORS}:AMQPLinkError",
    f"{ERRORS}:ErrorCondition.LinkStolen",
)
"""The private names that this package uses or replaces, as module:name; the last part may be an
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
