"""The I/O: a trio task pair for each connection, pumping bytes."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import trio

from .connection import Connection
from .counters import Counters, count
from .faults import Faults
from .loop import LoopThread
from .service import DEFAULT_MAX_MESSAGE_BYTES, Service

if TYPE_CHECKING:
    from .broker import Broker

_READ_BYTES = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: closing sends a reset


class Gate:
    """A gate that tasks pass: at once while it is open, when it opens while it is shut."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._opened.set()

    def shut(self) -> None:
        """Stop those who come from now on."""
        if self._opened.is_set():
            self._opened = trio.Event()

    def open(self) -> None:
        """Let everybody through."""
        self._opened.set()

    async def passed(self) -> None:
        """Wait until the gate is open; no checkpoint if it is, so that it still is on return."""
        while not self._opened.is_set():
            await self._opened.wait()


class Peer:
    """A connected client: its socket, the state of its connection, the tasks in between."""

    def __init__(
        self, stream: trio.SocketStream, service: Service, gate: Gate, loop: LoopThread
    ) -> None:
        self._stream = stream
        self._gate = gate
        self._loop = loop
        self._woken = trio.Event()
        self._scope = trio.CancelScope()
        self.connection = Connection(service, self.wake)

    def wake(self) -> None:
        """Look for output soon. May be called from any thread."""
        self._loop.run_soon(self._wake)

    def _wake(self) -> None:
        self._woken.set()

    def reads(self, hub: str | None, partition: str | None) -> bool:
        """Tell whether a receiver on such a partition is open; None stands for any."""
        readers = self.connection.readers
        return any(reader.receiver.partition.matches(hub, partition) for reader in readers)

    def reset(self) -> None:
        """Cut the connection: the client gets a reset, not an end of stream."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._scope.cancel()
        self._stream.socket.close()
        self.connection.abandon()

    async def run(self) -> None:
        """Pump bytes until one of the sides is done."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    await self._write()
                    nursery.cancel_scope.cancel()
        finally:
            self.connection.abandon()

    async def _read(self) -> None:
        try:
            while data := await self._stream.receive_some(_READ_BYTES):
                await self._gate.passed()
                self.connection.receive(bytes(data))
                self._woken.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone, in whatever way
        self._scope.cancel()

    async def _write(self) -> None:
        try:
            while not self.connection.finished:
                self._woken = trio.Event()
                await self._gate.passed()
                data = self.connection.output(trio.current_time())
                if data:
                    await self._stream.send_all(data)
                else:
                    with trio.move_on_at(self.connection.deadline()):
                        await self._woken.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as in _read


class Emulator:
    """A running emulator: where it listens, and the handles to look at it and to break it."""

    def __init__(self, service: Service, nursery: trio.Nursery, reservation: socket.socket) -> None:
        self.service = service
        self.broker = service.broker
        self.gate = Gate()
        self.peers: set[Peer] = set()
        self._nursery = nursery
        self._accepting: trio.CancelScope | None = None
        self._listener: trio.SocketListener | None = None
        # Bound but not listening, it keeps the port while nobody is to be let in.
        self.host: str = reservation.getsockname()[0]
        self.port: int = reservation.getsockname()[1]
        self.loop = LoopThread()
        self.faults = Faults(self)
        self.listen()

    @property
    def connection_string(self) -> str:
        """The connection string of the namespace, for the SDKs."""
        return (
            f"Endpoint=sb://localhost:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true"
        )

    def counters(self) -> Counters:
        """Look at what it holds and who is connected. May be called from any thread."""
        return self.loop.run(lambda: count(self.service, len(self.peers)))

    def wake(self) -> None:
        """Have all connections look for output."""
        for peer in self.peers:
            peer.wake()

    def listen(self) -> None:
        """Accept connections; no effect while that is done already."""
        if self._listener is not None:
            return
        bound = _bind(self.host, self.port)
        bound.setblocking(False)  # noqa: FBT003 - named so by the socket module
        bound.listen(1024)
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        self._accepting = trio.CancelScope()
        self._nursery.start_soon(self._accept, self._listener, self._accepting)

    def stop_listening(self) -> None:
        """Refuse new connections from now on; those that are open stay."""
        if self._listener is not None and self._accepting is not None:
            self._accepting.cancel()
            self._listener.socket.close()
            self._listener = None

    async def _accept(self, listener: trio.SocketListener, scope: trio.CancelScope) -> None:
        with scope:
            await trio.serve_listeners(self._serve, [listener], handler_nursery=self._nursery)

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer = Peer(stream, self.service, self.gate, self.loop)
        self.peers.add(peer)
        try:
            await peer.run()
        finally:
            self.peers.discard(peer)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def serve(
    broker: Broker,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    task_status: trio.TaskStatus[Emulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a broker's hubs until cancelled; `task_status` is told the running Emulator.

    `port` 0 takes any free one. Raises OSError if the address cannot be had.
    """
    service = Service(broker, max_message_bytes)
    with _bind(host, port) as reservation:
        async with trio.open_nursery() as nursery:
            emulator = Emulator(service, nursery, reservation)
            try:
                task_status.started(emulator)
                await trio.sleep_forever()
            finally:
                emulator.stop_listening()
