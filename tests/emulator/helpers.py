"""Clients for the tests: the SDK's, in a thread of its own, and a bare AMQP one."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import proton
import pytest
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumerClient
from hypothesis import HealthCheck, settings

from emulator import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.eventhub import PartitionContext
    from azure.eventhub.aio import PartitionContext as AsyncPartitionContext

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For property tests: a busy machine is not a reason to fail."""

DEADLINE = 60.0  # seconds; only reached by a test that fails


def until(condition: Callable[[], object], about: Callable[[], object] = str) -> None:
    """Poll until a condition holds; fail the test, telling what it is about, if it never does."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(2)  # to stderr: where all the threads are
            pytest.fail(f"it did not come about in {DEADLINE} s: {about()}")
        time.sleep(0.005)


def attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    """Return the result of a call, or None and the condition with which it was refused."""
    try:
        return function(*arguments), None
    except RefusedError as error:
        return None, error.condition


def body_of(event: EventData) -> bytes:
    return b"".join(event.body)  # type: ignore[arg-type]


class Consumer:
    """An SDK client that receives in its own thread until the block ends."""

    def __init__(self, connection: str, hub: str = "audit", **options: Any) -> None:
        self.events: list[tuple[str, EventData]] = []
        self.errors: list[Exception] = []
        self.last_enqueued: dict[str, Any] | None = None
        self._group = options.pop("group", "$Default")
        self._connection, self._hub = connection, hub
        # A partition given up after errors is claimed again at the next balance.
        self._client_options: dict[str, Any] = {"load_balancing_interval": 2}
        if "retry_total" in options:
            self._client_options["retry_total"] = options.pop("retry_total")
        # Without max_wait_time the client calls back with whatever has come, at once.
        self._options: dict[str, Any] = {"starting_position": "-1", **options}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def wait(self, count: int) -> list[bytes]:
        until(lambda: len(self.events) >= count, lambda: (count, len(self.events), self.errors))
        return self.bodies()

    def bodies(self, partition: str | None = None) -> list[bytes]:
        return [body_of(event) for where, event in self.events if partition in (None, where)]

    def wait_for_error(self, text: str) -> Exception:
        until(lambda: any(text in str(error) for error in self.errors), lambda: self.errors)
        return next(error for error in self.errors if text in str(error))

    def _take(self, context: Any, events: list[EventData]) -> None:
        if self._options.get("track_last_enqueued_event_properties") and events:
            self.last_enqueued = context.last_enqueued_event_properties
        self.events += [(context.partition_id, event) for event in events]

    def _run(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError


class SyncConsumer(Consumer):
    def _run(self) -> None:
        self._client = EventHubConsumerClient.from_connection_string(
            self._connection,
            self._group,
            eventhub_name=self._hub,
            socket_timeout=0.05,  # how long each partition in turn keeps the only thread
            **self._client_options,
        )
        with self._client:
            self._client.receive_batch(self._take, on_error=self._error, **self._options)

    def _error(self, _context: PartitionContext | None, error: Exception) -> None:
        self.errors.append(error)

    def _stop(self) -> None:
        self._client.close()


class AsyncConsumer(Consumer):
    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        client = AsyncConsumerClient.from_connection_string(
            self._connection, self._group, eventhub_name=self._hub, **self._client_options
        )
        async with client:
            receiving = asyncio.create_task(
                client.receive_batch(self._receive, on_error=self._error, **self._options)
            )
            await self._stopped.wait()
        receiving.cancel()  # closed as it is, it would go on sleeping for its balancing interval
        with contextlib.suppress(asyncio.CancelledError):
            await receiving

    async def _receive(self, context: AsyncPartitionContext, events: list[EventData]) -> None:
        self._take(context, events)

    async def _error(self, _context: AsyncPartitionContext | None, error: Exception) -> None:
        self.errors.append(error)

    def _stop(self) -> None:
        until(lambda: hasattr(self, "_stopped"))
        self._loop.call_soon_threadsafe(self._stopped.set)


def producer(connection: str, hub: str = "audit", **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(connection, eventhub_name=hub, **options)


class BareClient:
    """A blocking AMQP client that does nothing by itself, so that a test can be exact."""

    def __init__(self, port: int, max_frame_size: int = 1 << 20) -> None:
        self.collector = proton.Collector()
        self.connection = proton.Connection()
        self.connection.collect(self.collector)
        self.connection.hostname = "localhost"
        self.connection.container = "bare"
        self.transport = proton.Transport(proton.Transport.CLIENT)
        self.transport.max_frame_size = max_frame_size
        self.transport.sasl().allowed_mechs("ANONYMOUS")
        self.transport.bind(self.connection)
        self.connection.open()
        self.session = self.connection.session()
        self.session.open()
        self.messages: list[tuple[str, bytes]] = []
        self.events: list[proton.EventType] = []
        self.received = bytearray()  # all bytes off the socket
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()
        self.transport.unbind()
        self.connection.free()
        self.collector.release()

    def receiver(self, address: str, credit: int, *, epoch: int | None = None) -> proton.Receiver:
        link = self.session.receiver(f"receiver-{address}-{id(self)}-{credit}")
        link.source.address = address
        if epoch is not None:
            link.properties = {proton.symbol("com.microsoft:epoch"): epoch}
        link.open()
        if credit:
            link.flow(credit)
        return link

    def sender(self, address: str) -> proton.Sender:
        link = self.session.sender(f"sender-{address}")
        link.target.address = address
        link.open()
        return link

    def pump_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.flush()
            data = self.socket.recv(1 << 20)
            assert data, "the service has closed the connection"
            self.received += data
            while data and (capacity := self.transport.capacity()) > 0:
                self.transport.push(data[:capacity])
                data = data[capacity:]
            self._drain()
        self.flush()

    def flush(self) -> None:
        while (pending := self.transport.pending()) > 0:
            self.socket.sendall(self.transport.peek(pending) or b"")
            self.transport.pop(pending)

    def _drain(self) -> None:
        while (event := self.collector.peek()) is not None:
            self.events.append(event.type)
            delivery = event.delivery
            if event.type == proton.Event.DELIVERY and delivery and delivery.readable:
                self._receive(delivery)
            self.collector.pop()

    def _receive(self, delivery: proton.Delivery) -> None:
        if delivery.partial:
            return
        link = delivery.link
        self.messages.append((link.name, bytes(link.recv(delivery.pending) or b"")))
        assert delivery.settled, "the service settles what it sends"
        link.advance()
        delivery.settle()
