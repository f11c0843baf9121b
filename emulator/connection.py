"""One client's connection: bytes in, bytes out. Proton handles AMQP, this decides. No I/O."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import proton
from proton import Event, Link, Transport

from . import frames, links
from .addresses import CBS, MANAGEMENT, parse_source, parse_target, path_of
from .errors import ARGUMENT_ERROR, RefusedError
from .filters import EARLIEST, SELECTOR_FILTER, Position, parse_selector
from .links import HubWriter, PartitionReader, ReplySource, RequestSink
from .receivers import Receiver
from .tokens import LISTEN, SEND, Authorization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .service import Service

EndPoint = PartitionReader | HubWriter | RequestSink | ReplySource

# The service opens its connections with these values (frame log in
# Azure/azure-sdk-for-python issue 5316): 65536 bytes a frame,
# channels up to 4999, 240 seconds without a frame.
_CHANNEL_MAX = 4999
_IDLE_TIMEOUT = 480.0  # seconds; proton announces half of it
_EPOCH = "com.microsoft:epoch"
_RUNTIME_METRIC = b"com.microsoft:enable-receiver-runtime-metric"
_CHUNK_BYTES = 256 * 1024  # queued in proton, and given out, at a time

_NO_FRAME = frames.Frame(b"")
_connection_numbers = itertools.count()


class Connection:
    """The state of one connection.

    `wake` is called when there may be output because something was published or
    a fault changed something; it may be called from any thread.
    """

    def __init__(self, service: Service, wake: Callable[[], None]) -> None:
        self._service = service
        self._authorization = Authorization(service.keys)
        self._wake = wake
        self._collector = proton.Collector()
        self._connection = proton.Connection()
        self._connection.collect(self._collector)
        self._connection.container = f"emulator-{next(_connection_numbers)}"
        self._transport = _transport(self._connection)
        self._splitter = frames.FrameSplitter()
        self._padder = frames.FramePadder()
        self._end_points: dict[Link, EndPoint] = {}
        self._frame = _NO_FRAME  # the one being processed
        self._due: float | None = None
        self._deadline = 0.0
        self.finished = False
        self._abandoned = False

    @property
    def readers(self) -> list[PartitionReader]:
        """The open receivers of partitions."""
        return [each for each in self._end_points.values() if isinstance(each, PartitionReader)]

    def detach_hub(self, hub: str, condition: str, description: str) -> int:
        """Detach the links that read from a hub or send to it; return how many there were."""
        chosen = [
            link
            for link, each in self._end_points.items()
            if isinstance(each, PartitionReader | HubWriter) and each.hub.lower() == hub.lower()
        ]
        for link in chosen:
            self._detach(link, condition, description)
        return len(chosen)

    def _detach(self, link: Link, condition: str, description: str) -> None:
        links.detach(link, condition, description)
        self._forget(link)
        self._wake()

    def receive(self, data: bytes) -> None:
        """Take in bytes from the client."""
        if self.finished:
            return
        for frame in self._splitter.feed(data):
            self._frame = frame
            self._push(frame.raw)
            self._dispatch()
        self._frame = _NO_FRAME

    def _push(self, raw: bytes) -> None:
        while raw and (capacity := self._transport.capacity()) > 0:
            self._transport.push(raw[:capacity])
            raw = raw[capacity:]

    def output(self, now: float) -> bytes:
        """Return the next bytes for the client, b"" if there are none now; `now` in seconds."""
        if self.finished:
            return b""
        self._deadline = self._transport.tick(now)
        self._send_events(now)
        self._dispatch()
        pieces: list[bytes | memoryview] = []
        size = 0
        while size < _CHUNK_BYTES and (pending := self._transport.pending()) > 0:
            pieces += self._padder.feed(self._transport.peek(pending) or b"")
            self._transport.pop(pending)
            size += pending
        self.finished = self._transport.pending() < 0
        return b"".join(pieces)

    def deadline(self) -> float:
        """Return the time at which `output` has to be called at the latest, in its seconds."""
        times = [time for time in (self._deadline, self._due) if time]
        return min(times, default=float("inf"))

    def _send_events(self, now: float) -> None:
        readers = self.readers
        for reader in readers:
            reader.drain()
        working = [reader for reader in readers if reader.has_work()]
        if not working:
            self._due = None
            return
        if self._service.delivery_delay:
            self._due = now + self._service.delivery_delay if self._due is None else self._due
            if now < self._due:
                return
        self._due = None
        for reader in working:
            reader.send(_CHUNK_BYTES)

    def abandon(self) -> None:
        """Release everything: the socket is closed. A second call does nothing."""
        if self._abandoned:
            return
        self.finished = self._abandoned = True
        for link in list(self._end_points):
            self._forget(link)
        self._transport.unbind()
        self._connection.free()
        self._collector.release()

    def _dispatch(self) -> None:
        while (event := self._collector.peek()) is not None:
            self._handle(event)
            self._collector.pop()

    def _handle(self, event: Event) -> None:
        kind, link, session = event.type, event.link, event.session
        if kind == Event.DELIVERY and event.delivery is not None:
            self._receive_delivery(event.delivery)
        elif kind == Event.LINK_REMOTE_OPEN and link is not None:
            self._open_link(link)
        elif kind in (Event.LINK_REMOTE_CLOSE, Event.LINK_REMOTE_DETACH) and link is not None:
            self._forget(link)
            link.close()
        elif kind == Event.SESSION_REMOTE_OPEN and session is not None:
            session.open()
        elif kind == Event.SESSION_REMOTE_CLOSE and session is not None:
            self._close_session(session)
        elif kind == Event.CONNECTION_REMOTE_OPEN:
            self._connection.open()
        elif kind == Event.CONNECTION_REMOTE_CLOSE:
            self._connection.close()
        elif kind == Event.TRANSPORT_CLOSED:
            self.finished = True

    def _close_session(self, session: proton.Session) -> None:
        for link in list(self._end_points):
            if link.session == session:
                self._forget(link)
        session.close()

    def _receive_delivery(self, delivery: proton.Delivery) -> None:
        link = delivery.link
        end_point = self._end_points.get(link)
        if self._frame.code != frames.TRANSFER:
            return
        if not isinstance(end_point, HubWriter | RequestSink) or delivery.aborted:
            delivery.settle()
            return
        try:
            end_point.receive(delivery, frames.message_format(self._frame))
        except RefusedError as error:
            links.detach(link, error.condition, error.description)
            self._forget(link)

    def _open_link(self, link: Link) -> None:
        try:
            end_point = self._attach_sender(link) if link.is_sender else self._attach_receiver(link)
        except RefusedError as error:
            links.refuse(link, error)
        else:
            self._end_points[link] = end_point

    def _authorize(self, address: str, claim: str) -> None:
        if path_of(address) != CBS:  # over that link come the tokens
            self._authorization.check(address, claim)

    def _attach_receiver(self, link: Link) -> HubWriter | RequestSink:
        address = link.remote_target.address or ""
        self._authorize(address, SEND)
        if path_of(address) in (CBS, MANAGEMENT):
            links.accept(link, self._service.max_message_bytes)
            return RequestSink(
                link, self._service, self._authorization, path_of(address), self._reply_link
            )
        target = parse_target(address)
        hub = self._service.broker.hub(target.hub)
        if target.partition is not None:
            hub.partition(target.partition)
        links.accept(link, self._service.max_message_bytes)
        return HubWriter(link, self._service, target)

    def _attach_sender(self, link: Link) -> PartitionReader | ReplySource:
        address = link.remote_source.address or ""
        self._authorize(address, LISTEN)
        if path_of(address) in (CBS, MANAGEMENT):
            source = ReplySource(link, path_of(address))
            links.accept(link, self._service.max_message_bytes)
            return source
        reader = self._reader(link, address)
        self._service.receivers.add(reader.receiver)
        link.snd_settle_mode = Link.SND_SETTLED
        links.accept(link, self._service.max_message_bytes)
        self._service.broker.subscribe(reader.receiver.partition, self._wake)
        return reader

    def _reader(self, link: Link, address: str) -> PartitionReader:
        source = parse_source(address)
        hub = self._service.broker.hub(source.hub)
        hub.check_group(source.group or "")
        partition = hub.partition(source.partition or "")
        start = self._service.broker.locate(partition, _position(link, partition.offset_prefix))
        epoch = _epoch(link)

        def disconnect(condition: str, description: str) -> None:
            self._detach(link, condition, description)

        receiver = Receiver(partition, source.group or "", epoch, disconnect)
        metric = _RUNTIME_METRIC in self._frame.raw
        return PartitionReader(link, self._service, receiver, start, runtime_metric=metric)

    def _reply_link(self, node: str, reply_to: str | None) -> Link | None:
        candidates = list(self._reply_links(node))
        named = [link for link in candidates if link.remote_target.address == reply_to]
        return next(iter(named + candidates), None)

    def _reply_links(self, node: str) -> Iterator[Link]:
        for end_point in self._end_points.values():
            if isinstance(end_point, ReplySource) and end_point.node == node:
                yield end_point.link

    def _forget(self, link: Link) -> None:
        end_point = self._end_points.pop(link, None)
        if end_point is None:
            return
        end_point.close()
        if isinstance(end_point, PartitionReader):
            partition = end_point.receiver.partition
            if all(reader.receiver.partition is not partition for reader in self.readers):
                self._service.broker.unsubscribe(partition, self._wake)


def _transport(connection: proton.Connection) -> Transport:
    transport = Transport(Transport.SERVER)
    transport.max_frame_size = frames.MAX_FRAME_SIZE
    transport.channel_max = _CHANNEL_MAX
    transport.idle_timeout = _IDLE_TIMEOUT
    transport.sasl().allowed_mechs("ANONYMOUS PLAIN EXTERNAL")
    transport.bind(connection)
    return transport


def _epoch(link: Link) -> int | None:
    """Return the owner level the peer claims, None if it claims none."""
    epoch = (link.remote_properties or {}).get(_EPOCH)
    if epoch is not None and not isinstance(epoch, int):
        raise RefusedError(ARGUMENT_ERROR, f"the epoch {epoch!r} is not a number")
    return epoch


def _position(link: Link, offset_prefix: str) -> Position:
    """Return where the peer wants to start: the selector of its source, or the oldest event."""
    data = link.remote_source.filter
    data.rewind()
    if not data.next():
        return EARLIEST
    for name, described in (data.get_object() or {}).items():
        if name == SELECTOR_FILTER:
            return parse_selector(str(getattr(described, "value", described)), offset_prefix)
    return EARLIEST
