"""The service's end of a link: a partition read, a hub written to, a request node."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, cast

from proton import Condition, Delivery, Link, Message, MessageException, Terminus

from . import message, requests
from .errors import DECODE_ERROR, LINK_DETACH_FORCED, MESSAGE_SIZE_EXCEEDED, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .addresses import Address
    from .message import StoredEvent
    from .receivers import Receiver
    from .service import Service
    from .tokens import Authorization

_INCOMING_CREDIT = 300  # messages; what the service grants to senders


def accept(link: Link, max_message_bytes: int) -> None:
    """Attach to a link the peer has attached, on its terms.

    The message limit is the lower of both sides', where 0 means none
    (Azure/azure-sdk-for-python pull request 43462).
    """
    link.source.copy(link.remote_source)
    link.target.copy(link.remote_target)
    wanted = link.remote_max_message_size
    link.max_message_size = min(wanted, max_message_bytes) if wanted else max_message_bytes
    link.open()


def refuse(link: Link, error: RefusedError) -> None:
    """Answer an attach with an error: null source and target, then a detach (AMQP part 2.6.3)."""
    link.source.type = Terminus.UNSPECIFIED
    link.target.type = Terminus.UNSPECIFIED
    link.open()
    detach(link, error.condition, error.description)


def detach(link: Link, condition: str, description: str) -> None:
    """Close a link with an error."""
    link.condition = Condition(condition, description)
    link.close()


class PartitionReader:
    """Sends the events of a partition over a link, as far as the peer has given credit.

    Deliveries are settled when they are sent, as the service's are: reading changes nothing.
    """

    def __init__(
        self,
        link: Link,
        service: Service,
        receiver: Receiver,
        next_sequence_number: int,
        *,
        runtime_metric: bool,
    ) -> None:
        self.link = link
        self.receiver = receiver
        self.next_sequence_number = next_sequence_number
        self._service = service
        self._runtime_metric = runtime_metric
        self._tags = itertools.count()

    @property
    def hub(self) -> str:
        """The name of the hub."""
        return self.receiver.partition.hub

    def send(self, max_bytes: int) -> int:
        """Queue events up to about `max_bytes`; return how many events that were."""
        room = max_bytes - self.link.session.outgoing_bytes
        events = self._service.broker.read(
            self.receiver.partition, self.next_sequence_number, self.link.credit, room
        )
        for event in events:
            self._send(event)
        return len(events)

    def _send(self, event: StoredEvent) -> None:
        delivery = self.link.delivery(f"{next(self._tags):08x}")
        partition = self.receiver.partition
        last = partition.last_event
        if self._runtime_metric and last is not None:
            now_ms, last_offset = time.time_ns() // 1_000_000, partition.offset_of(last)
            self.link.stream(message.with_runtime_metric(event, last, last_offset, now_ms))
        else:
            self.link.stream(event.encoded)
        self.link.advance()
        delivery.settle()
        self.next_sequence_number = event.sequence_number + 1

    def has_work(self) -> bool:
        """Tell whether there is credit and an event for it."""
        last = self.receiver.partition.last_sequence_number
        return self.next_sequence_number <= last and self.link.credit > 0

    def drain(self) -> None:
        """Give back the credit there is no event for, if the peer asks for that."""
        if self.link.drain_mode and not self.has_work():
            self.link.drained()

    def close(self) -> None:
        """Stop reading: the link or its connection is gone."""
        self._service.receivers.discard(self.receiver)


class HubWriter:
    """Takes what a client sends to a hub or to one of its partitions."""

    def __init__(self, link: Link, service: Service, address: Address) -> None:
        self.link = link
        self._service = service
        self._address = address
        self._format: int | None = None  # of the delivery that is arriving
        link.flow(_INCOMING_CREDIT)

    @property
    def hub(self) -> str:
        """The name of the hub."""
        return self._address.hub

    def receive(self, delivery: Delivery, message_format: int | None) -> None:
        """Store a delivery once it is complete; raises RefusedError if it is too large.

        `message_format` is that of the transfer just received.
        """
        limit = self.link.max_message_size
        if delivery.pending > limit:
            text = f"The received message exceeds the limit ({limit} bytes) allowed on the link."
            raise RefusedError(MESSAGE_SIZE_EXCEEDED, text)
        # Only the first transfer of a delivery has to give the format (AMQP part 2.7.5).
        self._format = self._format if message_format is None else message_format
        if not delivery.partial:
            self._complete(delivery)
            self._format = None

    def _complete(self, delivery: Delivery) -> None:
        encoded = _take(self.link, delivery)
        try:
            self._store(encoded)
        except RefusedError as error:
            delivery.local.condition = Condition(error.condition, error.description)
            delivery.update(Delivery.REJECTED)
        else:
            delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        if self.link.credit < _INCOMING_CREDIT // 2:
            self.link.flow(_INCOMING_CREDIT - self.link.credit)

    def _store(self, encoded: bytes) -> None:
        batch = self._format == message.BATCH_FORMAT
        messages = message.split_batch(encoded) if batch else [message.parse(encoded)]
        self._service.broker.store(self._address.hub, self._address.partition, messages)

    def close(self) -> None:
        """Nothing is held."""


def _take(link: Link, delivery: Delivery) -> bytes:
    encoded = bytes(link.recv(delivery.pending) or b"")
    link.advance()
    return encoded


class RequestSink:
    """Takes the requests sent to `$cbs` or `$management` and sends the replies.

    `authorization` is that of the connection. `reply_link` finds the link for a reply by the
    request's reply-to address.
    """

    def __init__(
        self,
        link: Link,
        service: Service,
        authorization: Authorization,
        node: str,
        reply_link: Callable[[str, str | None], Link | None],
    ) -> None:
        self.link = link
        self._service = service
        self._authorization = authorization
        self._node = node
        self._reply_link = reply_link
        link.flow(_INCOMING_CREDIT)

    def receive(self, delivery: Delivery, _message_format: int | None) -> None:
        """Answer a request once it is complete; raises RefusedError if that cannot be."""
        if delivery.partial:
            return
        encoded = _take(self.link, delivery)
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        self.link.flow(1)
        request = Message()
        try:
            request.decode(encoded)
        except MessageException as error:
            raise RefusedError(DECODE_ERROR, f"the request is not a message: {error}") from error
        self._answer(request)

    def _answer(self, request: Message) -> None:
        target = self._reply_link(self._node, request.reply_to)
        if target is None:
            raise RefusedError(LINK_DETACH_FORCED, f"no link for the replies of {self._node}")
        # Proton's annotation says None, its value is a dict or None.
        properties = cast("dict[str, object] | None", request.properties)
        reply = requests.answer(
            self._node, self._service, self._authorization, properties or {}, request.body
        )
        correlation = request.id if request.correlation_id is None else request.correlation_id
        target.send(
            Message(
                body=reply.body,
                properties=reply.properties(),
                correlation_id=correlation,
            )
        )

    def close(self) -> None:
        """Nothing is held."""


class ReplySource:
    """The link over which a client gets the replies of a request node."""

    def __init__(self, link: Link, node: str) -> None:
        self.link = link
        self.node = node
        link.snd_settle_mode = Link.SND_SETTLED

    def close(self) -> None:
        """Nothing is held."""
