"""One connected client: a pair of trio tasks that move bytes between socket and connection."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import trio

from .connection import Connection

if TYPE_CHECKING:
    from .loop import LoopThread
    from .service import Service

_READ_BYTES = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: closing sends a reset


class Pause:
    """Holds tasks up while it lasts. It does not last at first."""

    def __init__(self) -> None:
        self._over = trio.Event()
        self._over.set()

    def begin(self) -> None:
        """Hold up those who come from now on."""
        if self._over.is_set():
            self._over = trio.Event()

    def end(self) -> None:
        """Let everybody go on."""
        self._over.set()

    async def wait(self) -> None:
        """Wait until it is over; without a checkpoint if it is, so that it still is on return."""
        while not self._over.is_set():
            await self._over.wait()


class Peer:
    """A connected client: its socket, the state of its connection, the tasks in between."""

    def __init__(
        self, stream: trio.SocketStream, service: Service, pause: Pause, loop: LoopThread
    ) -> None:
        self._stream = stream
        self._pause = pause
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
        """Return whether a receiver on such a partition is open; None means any."""
        readers = self.connection.readers
        return any(reader.receiver.partition.matches(hub, partition) for reader in readers)

    def reset(self) -> None:
        """Cut the connection: the client gets a reset, not an end of stream."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._scope.cancel()
        self._stream.socket.close()
        self.connection.abandon()

    async def run(self) -> None:
        """Move bytes until one of the sides is done."""
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
                await self._pause.wait()
                self.connection.receive(bytes(data))
                self._woken.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has closed the connection, or it broke
        self._scope.cancel()

    async def _write(self) -> None:
        try:
            while not self.connection.finished:
                self._woken = trio.Event()
                await self._pause.wait()
                data = self.connection.output(trio.current_time())
                if data:
                    await self._stream.send_all(data)
                else:
                    with trio.move_on_at(self.connection.deadline()):
                        await self._woken.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # as in _read
