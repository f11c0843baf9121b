"""Parts of the SDK that are replaced, because they grow, break or spin."""

import importlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from azure.eventhub.aio import EventHubConsumerClient

from ..sections import decode
from .link import PartitionLink
from .names import DECODER, LINKS, SESSIONS

Read = Callable[[PartitionLink], Awaitable[None]]
"""async (link) -> None: read a partition until it is cancelled, or cannot be read"""


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
    sessions: Any = importlib.import_module(SESSIONS)
    make: Any = importlib.import_module(LINKS).ReceiverLink

    def make_link(*args: Any, **kwargs: Any) -> Any:
        link = make(*args, **kwargs)
        link._received_delivery_tags = _NothingKept()
        return link

    sessions.ReceiverLink = make_link


def decode_whatever_comes() -> None:
    """Have the links decode each message as far as that is possible.

    The SDK's decoder is recursive, and what it raises ends the link of the partition, each time
    the message comes (`_pyamqp/aio/_receiver_async.py`, ``_incoming_transfer``).
    """
    links: Any = importlib.import_module(LINKS)
    decoder: Any = importlib.import_module(DECODER).decode_payload
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

        async def receive(batch: object, *_: object) -> None:
            await read(PartitionLink(consumer, batch=bool(batch)))

        consumer.receive = receive
        return consumer

    untyped._create_consumer = create_consumer
