"""A stand-in for Falco's k8saudit webhook, with faults on demand and a memory, in a trio program.

It obeys the contract of the k8saudit plugin (falcosecurity/plugins,
`plugins/k8saudit/pkg/k8saudit/source.go`) and records what the plugin would only log.
"""

import trio
import trio.testing

from testkit.falco.faults import Faults
from testkit.falco.queue import BodyQueue
from testkit.falco.received import Received
from testkit.falco.webhook import Settings, serve_connection

_BACKLOG = 1024


class Falco:
    """A running stand-in: its address, what it received, and its faults."""

    def __init__(self, sock: trio.socket.SocketType, settings: Settings) -> None:
        self._sock = sock
        self._host: str
        self.port: int
        self._host, self.port = sock.getsockname()[:2]
        self._settings = settings
        self._scope = trio.CancelScope()
        self._refused = trio.Event()
        self._reopened = trio.Event()
        self.url = f"http://{self._host}:{self.port}{settings.path}"
        self.received = Received(count_only=settings.count_only, keep_bytes=settings.keep_bytes)
        self.faults = Faults(latency_ms=settings.latency_ms)
        self._queue: BodyQueue | None = None

    async def stop(self) -> None:
        """Do as Falco does on SIGTERM: answer whoever waits, drop what is queued, and `refuse`."""
        if self._queue is not None:
            self._queue.stop()
            await trio.testing.wait_all_tasks_blocked()
        await self.refuse()

    async def refuse(self) -> None:
        """Cut every connection and refuse new ones, until `accept`; what is queued is lost."""
        self._scope.cancel()
        await self._refused.wait()

    def accept(self) -> None:
        """Listen again, on the same port."""
        if not self._refused.is_set():
            return
        self._sock.listen(_BACKLOG)
        self._scope, self._refused = trio.CancelScope(), trio.Event()
        self._reopened.set()
        self._reopened = trio.Event()

    async def serve(self) -> None:
        """Serve until cancelled, through any number of refusals."""
        try:
            while True:
                with self._scope:
                    await self._live()
                # Bound but not listening: the port stays ours, and connecting to it is refused.
                self._sock = await _bind(self._host, self.port)
                self._refused.set()
                await self._reopened.wait()
        finally:
            self._sock.close()

    async def _live(self) -> None:
        settings = self._settings
        self._queue = None
        listeners = [trio.SocketListener(self._sock)]
        async with trio.open_nursery() as nursery:
            if settings.queue_bodies:
                self._queue = BodyQueue(
                    settings.queue_bodies, settings.events_per_s, self.received, settings.journal
                )
                nursery.start_soon(self._queue.work)
            await trio.serve_listeners(self._serve_connection, listeners)

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        await serve_connection(stream, self._settings, self.faults, self.received, self._queue)


async def serve_falco(
    host: str,
    port: int,
    settings: Settings | None = None,
    *,
    task_status: trio.TaskStatus[Falco] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a stand-in until cancelled; port 0 takes a free one."""
    sock = await _bind(host, port)
    sock.listen(_BACKLOG)
    falco = Falco(sock, settings or Settings())
    task_status.started(falco)
    await falco.serve()


async def _bind(host: str, port: int) -> trio.socket.SocketType:
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
    await sock.bind((host, port))
    return sock
