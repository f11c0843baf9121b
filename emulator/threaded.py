"""An emulator in its own thread, for callers that do not run in trio."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

import trio

from .broker import Broker
from .faults import Faults
from .server import serve
from .service import DEFAULT_MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .counters import Counters
    from .server import Emulator


class _Status:
    """Hands what `serve` has started to the thread that waits for it."""

    def __init__(
        self, started: Future[tuple[Emulator, trio.CancelScope]], scope: trio.CancelScope
    ) -> None:
        self._started = started
        self._scope = scope

    def started(self, value: Emulator | None = None) -> None:
        assert value is not None, "serve tells what it has started"
        self._started.set_result((value, self._scope))


class ThreadedEmulator:
    """Runs an emulator in its own thread, from `__enter__` to `__exit__`.

    `hubs` is a broker, or tells the number of partitions by hub. For `keys` see serve. All that
    it offers may be used from any thread.
    """

    def __init__(
        self,
        hubs: Mapping[str, int] | Broker,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.broker = hubs if isinstance(hubs, Broker) else Broker(hubs)
        self._host = host
        self._port = port
        self._max_message_bytes = max_message_bytes
        self._keys = keys
        self._started: Future[tuple[Emulator, trio.CancelScope]] = Future()
        self._thread = threading.Thread(target=self._run, name="event-hubs-emulator")

    def __enter__(self) -> Self:
        self._thread.start()
        failure = self._started.exception()
        if failure is not None:
            self._thread.join()
            raise failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        emulator, scope = self._started.result()
        emulator.loop.run(scope.cancel)
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except Exception as error:
            if self._started.done():
                raise  # after the start it is a defect: the thread's excepthook reports it
            self._started.set_exception(error)

    async def _main(self) -> None:
        with trio.CancelScope() as scope:
            await serve(
                self.broker,
                self._host,
                self._port,
                max_message_bytes=self._max_message_bytes,
                keys=self._keys,
                task_status=_Status(self._started, scope),
            )

    @property
    def emulator(self) -> Emulator:
        """The emulator as it runs in its thread."""
        return self._started.result()[0]

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self.emulator.port

    @property
    def connection_string(self) -> str:
        """The connection string of the namespace, for the SDKs."""
        return self.emulator.connection_string

    @property
    def faults(self) -> Faults:
        """Its faults."""
        return Faults(self.emulator)

    def counters(self) -> Counters:
        """Look at what it holds and who is connected."""
        return self.emulator.counters()
