"""The forwarder of the demo: the process of `testkit.rig`, asked from trio.

The process is watched from threads, because its log is read by one and its pages are asked for with
a blocking client. What ends the demo early is raised as DemoError, with a text for the user.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from demo.counts import Counts, counts_of
from demo.errors import DemoError
from testkit.rig import Forwarder as Process
from testkit.rig.forwarder import PROGRAM

_READY_SECONDS = 180.0
_STOP_SECONDS = 180.0
_POLL_SECONDS = 0.1
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV")
"""Anything else stays out: a developer's own settings must not reconfigure the demo."""


def environment(connection_string: str, hub: str, sink_url: str, directory: Path) -> dict[str, str]:
    """Return the forwarder's whole environment: its configuration, and what Python needs."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "EHUBNAMESPACECONNECTIONSTRING": connection_string,
        "EVENTHUBNAME": hub,
        "WEBSINKURL": sink_url,
        "CHECKPOINTFILE": str(directory / "checkpoints.sqlite"),
        "STARTPOSITION": "earliest",
        "STATSADDRESS": "127.0.0.1:0",
        "LOGFORMAT": "json",
    }


class Forwarder:
    """A running forwarder."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """Wait until it says that it is ready; DemoError if it ends or takes too long."""
        with trio.move_on_after(_READY_SECONDS):
            while not await trio.to_thread.run_sync(self._is_ready):
                self.check()
                await trio.sleep(_POLL_SECONDS)
            return
        raise DemoError(f"the forwarder is not ready after {_READY_SECONDS:.0f} s")

    def _is_ready(self) -> bool:
        try:
            return bool(self._process.log("serving")) and self._process.ready()
        except httpx.TransportError:
            return False

    def check(self) -> None:
        """Raise DemoError if it has ended by itself."""
        status = self._process.status
        if status is not None:
            raise DemoError(f"the forwarder ended with status {status}")

    async def counts(self) -> Counts:
        """Read its metrics; DemoError if it does not answer."""
        try:
            return counts_of(await trio.to_thread.run_sync(self._process.metrics))
        except httpx.HTTPError as error:
            self.check()
            raise DemoError(f"the forwarder's metrics cannot be read: {error!r}") from error

    async def stop(self) -> int:
        """Ask it to end, and return its exit status; DemoError if it does not end."""
        self.check()
        self._process.terminate()
        with trio.move_on_after(_STOP_SECONDS):
            return await _end_of(self._process)
        raise DemoError(f"the forwarder goes on {_STOP_SECONDS:.0f} s after SIGTERM")


@asynccontextmanager
async def start(
    settings: Mapping[str, str], log: Path, program: Sequence[str] = PROGRAM
) -> AsyncIterator[Forwarder]:
    """Run a forwarder for the time of the block; the file `log` then holds what it wrote.

    At the end it is stopped as a supervisor would stop it: with SIGTERM, and later with SIGKILL.
    """
    process = Process(settings, program=program).start()
    try:
        yield Forwarder(process)
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(_STOP_SECONDS):
                await _end_of(process)
            await trio.to_thread.run_sync(process.close)
            await trio.Path(log).write_text(process.text)


async def _end_of(process: Process) -> int:
    # The thread is left behind if this is cancelled; it ends with the process.
    return await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
