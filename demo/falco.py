"""A stand-in for Falco's k8saudit webhook, with faults on demand and a memory.

It obeys the contract of the k8saudit plugin (falcosecurity/plugins,
`plugins/k8saudit/pkg/k8saudit/source.go`) and records what the plugin would only log. It runs in
a trio program (`serve_falco`), beside a test (`ThreadedFalco`), or as a process of its own
(`python -m demo.falco`).
"""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from demo.faults import Faults
from demo.judge import Dropped
from demo.received import Key, Received
from demo.webhook import Settings, serve_connection

__all__ = ["Falco", "Settings", "ThreadedFalco", "serve_falco"]

_BACKLOG = 1024
_STATS_SECONDS = 1.0


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
        self.received = Received(judging=settings.judge, keep_bytes=settings.keep_bytes)
        self.faults = Faults(latency_ms=settings.latency_ms)

    async def refuse(self) -> None:
        """Cut every connection and refuse new ones, until `accept`."""
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
                    listener = trio.SocketListener(self._sock)
                    await trio.serve_listeners(self._serve_connection, [listener])
                # Bound but not listening: the port stays ours, and connecting to it is refused.
                self._sock = await _bind(self._host, self.port)
                self._refused.set()
                await self._reopened.wait()
        finally:
            self._sock.close()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        await serve_connection(stream, self._settings, self.faults, self.received)


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


class ThreadedFalco:
    """A stand-in on a thread of its own, for code that is not trio's; every method may block."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, settings: Settings | None = None
    ) -> None:
        self._address = host, port
        self._settings = settings or Settings(keep_bytes=True)
        self._stack = ExitStack()
        self._portal: BlockingPortal
        self._falco: Falco

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("trio"))
            serve = partial(serve_falco, *self._address, self._settings)
            future, self._falco = self._portal.start_task(serve)
            stack.callback(future.cancel)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where to post to."""
        return self._falco.url

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._falco.port

    @property
    def received(self) -> Received:
        """Everything that it was sent."""
        return self._falco.received

    @property
    def faults(self) -> Faults:
        """What it shall do wrong."""
        return self._falco.faults

    @property
    def count(self) -> int:
        """Events accepted, duplicates included."""
        return self.received.count

    @property
    def receipts(self) -> dict[Key, int]:
        """How often each event was accepted."""
        return self.received.receipts

    @property
    def bodies(self) -> list[bytes]:
        """The taken bodies, exactly as they came."""
        return self.received.bodies

    @property
    def events(self) -> dict[Key, bytes]:
        """The exact bytes of each accepted event."""
        return self.received.events

    @property
    def dropped(self) -> list[Dropped]:
        """What was answered with 200 and thrown away, with the reason."""
        return self.received.dropped

    def wait_for(self, predicate: Callable[[], bool], timeout: float = 180.0) -> bool:
        """Block until the predicate holds, looking at every arrival; else TimeoutError."""
        return self.received.wait_for(predicate, timeout)

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, until `accept`."""
        self._portal.call(self._falco.refuse)

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._portal.call(self._falco.accept)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections for the time of a with block."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()


async def _write_stats(received: Received, path: Path) -> None:
    """Keep a JSON file of the counts, replaced as a whole so that no reader sees half of one."""
    partial_path = path.with_name(path.name + ".partial")
    try:
        while True:
            await trio.sleep(_STATS_SECONDS)
            _write_whole(received, partial_path, path)
    finally:
        _write_whole(received, partial_path, path)


def _write_whole(received: Received, partial_path: Path, path: Path) -> None:
    partial_path.write_text(json.dumps(received.summary()) + "\n")
    partial_path.replace(path)


async def _run(
    host: str, port: int, settings: Settings, script: str, stats_file: Path | None
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            falco = await nursery.start(serve_falco, host, port, settings)
            falco.faults.script(script)
            if stats_file is not None:
                nursery.start_soon(_write_stats, falco.received, stats_file)
            print(f"listening on {falco.url}", flush=True)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()
    print(json.dumps(falco.received.summary()), flush=True)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9765, show_default=True, help="0 takes a free port")
@click.option("--path", default="/k8s-audit", show_default=True)
@click.option("--latency-ms", default=0.0, show_default=True, help="added to every answer")
@click.option("--no-judge", is_flag=True, help="count bytes and items only")
@click.option("--script", default="", help="faults for the first requests, as '503*3 close'")
@click.option("--stats-file", type=click.Path(path_type=Path), help="keep the counts here, as JSON")
def main(
    *,
    host: str,
    port: int,
    path: str,
    latency_ms: float,
    no_judge: bool,
    script: str,
    stats_file: Path | None,
) -> None:
    """Stand in for Falco's k8saudit webhook until SIGINT or SIGTERM."""
    settings = Settings(path=path, latency_ms=latency_ms, judge=not no_judge)
    trio.run(_run, host, port, settings, script, stats_file)


if __name__ == "__main__":
    main()
