"""The emulator as it runs: it listens on a port and serves each client that connects."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from .counters import Counters, count
from .loop import LoopThread
from .peer import Pause, Peer
from .service import DEFAULT_MAX_MESSAGE_BYTES, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .broker import Broker

_ANY_KEY = "RootManageSharedAccessKey", "SAS_KEY_VALUE"  # as Microsoft's emulator names them


class Emulator:
    """A running emulator: its address, its state, and what `Faults` acts on."""

    def __init__(self, service: Service, nursery: trio.Nursery, reservation: socket.socket) -> None:
        self.service = service
        self.broker = service.broker
        self.pause = Pause()
        self.peers: set[Peer] = set()
        self._nursery = nursery
        self._accepting: trio.CancelScope | None = None
        self._listener: trio.SocketListener | None = None
        # Bound but not listening, it keeps the port while connections are refused.
        self.host: str = reservation.getsockname()[0]
        self.port: int = reservation.getsockname()[1]
        self.loop = LoopThread()
        self.listen()

    @property
    def connection_string(self) -> str:
        """The connection string of the namespace, for the SDKs, with the first of the keys."""
        name, key = next(iter(self.service.keys.items()), _ANY_KEY)
        return (
            f"Endpoint=sb://localhost:{self.port};SharedAccessKeyName={name};"
            f"SharedAccessKey={key};UseDevelopmentEmulator=true"
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
        peer = Peer(stream, self.service, self.pause, self.loop)
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
    keys: Mapping[str, str] | None = None,
    task_status: trio.TaskStatus[Emulator] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a broker's hubs until cancelled; `task_status` is told the running Emulator.

    `port` 0 takes any free one. `keys` are the keys, by name, that tokens have to be signed
    with; without any, every token is taken and none is needed. Raises OSError if the address
    cannot be had.
    """
    service = Service(broker, max_message_bytes, keys or {})
    with _bind(host, port) as reservation:
        async with trio.open_nursery() as nursery:
            emulator = Emulator(service, nursery, reservation)
            try:
                task_status.started(emulator)
                await trio.sleep_forever()
            finally:
                emulator.stop_listening()
