"""The stand-in in its own thread, for a test or a demo that does not run in trio."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from testkit.falco.faults import Faults
from testkit.falco.received import Key, Received
from testkit.falco.rules import Dropped
from testkit.falco.server import Falco, serve_falco
from testkit.falco.webhook import Settings


class ThreadedFalco:
    """A stand-in in its own thread, for code that does not run in trio; every method may block."""

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
        """Everything that was sent to it."""
        return self._falco.received

    @property
    def faults(self) -> Faults:
        """The faults that it follows."""
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
        """The taken bodies, exactly as they arrived."""
        return self.received.bodies

    @property
    def events(self) -> dict[Key, bytes]:
        """The exact bytes of each accepted event."""
        return self.received.events

    @property
    def dropped(self) -> list[Dropped]:
        """What was answered with 200 and dropped, with the reason."""
        return self.received.dropped

    def wait_for(self, predicate: Callable[[], bool], timeout: float = 180.0) -> bool:
        """Block until the predicate holds, looking at every arrival; else TimeoutError."""
        return self.received.wait_for(predicate, timeout)

    def refuse(self) -> None:
        """Cut every connection and refuse new ones, until `accept`."""
        self._portal.call(self._falco.refuse)

    def restart(self, *, kill: bool = False) -> None:
        """End as on SIGTERM, or as on SIGKILL, and listen again; what was queued is lost."""
        self._portal.call(self._falco.refuse if kill else self._falco.stop)
        self.accept()

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._portal.call(self._falco.accept)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections during a with block."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()
