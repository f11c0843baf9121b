"""One forwarder: a real process, its log, its pages."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from testkit.rig.scrape import Scrape
from testkit.rig.wait import DEADLINE_S, eventually

Line = Mapping[str, Any]

PROGRAM = (sys.executable, "-m", "aks_audit")
"""The forwarder from its source."""


class Forwarder:
    """A process of `python -m aks_audit`, or of another program, with exactly this environment.

    It runs from the beginning of the block until it ends by itself or is ended; at the
    end of the block it is killed if it still runs.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *arguments: str,
        cwd: Path | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._environment = dict(environment)
        self._command = [*program, *arguments]
        self._cwd = cwd
        self._changed = threading.Condition()
        self._log: list[Line] = []
        self._text: list[str] = []
        self._ended = False
        self._read_on = threading.Event()
        self._read_on.set()
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        """Start it, for a caller that will `close` it and cannot use a with statement."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="forwarder-log")
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is not None:
            print(f"--- log of the forwarder, process {self.pid} ---", *self._text, sep="\n")

    def close(self) -> None:
        """Kill it if it still runs, and close its log."""
        self.kill()
        self._read_on.set()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            self._read_on.wait()
            line = _parse(text)
            with self._changed:
                self._text.append(text.rstrip("\n"))
                if line is not None:
                    self._log.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Do not read its log within the block: the pipe fills up, and then takes nothing more."""
        self._read_on.clear()
        try:
            yield
        finally:
            self._read_on.set()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def text(self) -> str:
        """Everything that it wrote to standard error, be it a log line or not."""
        with self._changed:
            return "\n".join(self._text)

    def stray(self) -> list[str]:
        """Return what it wrote to standard error that is not a log line."""
        return [text for text in self.text.splitlines() if _parse(text) is None]

    def log(self, msg: str | None = None, **fields: object) -> list[Line]:
        """Return the log lines so far, those with this message and these fields if given."""
        wanted = fields if msg is None else {"msg": msg, **fields}
        with self._changed:
            return [line for line in self._log if wanted.items() <= line.items()]

    def wait_for_log(
        self, msg: str, *, count: int = 1, timeout_s: float = DEADLINE_S, **fields: object
    ) -> list[Line]:
        """Wait for so many log lines with this message and these fields, and return them."""

        def there() -> bool:
            return len(self.log(msg, **fields)) >= count or self._ended

        with self._changed:
            self._changed.wait_for(there, timeout_s)
        found = self.log(msg, **fields)
        assert len(found) >= count, f"{len(found)} of {count} lines {msg!r} {fields}:\n{self.text}"
        return found

    def get(self, path: str) -> httpx.Response:
        """Ask for a page of the stats endpoint."""
        serving = self.wait_for_log("serving")[0]
        address = str(serving["metrics"]).removesuffix("/metrics")
        return httpx.get(address + path, trust_env=False, timeout=DEADLINE_S)

    def metrics(self) -> Scrape:
        """Scrape the metrics."""
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer
        return Scrape(answer.text)

    def unready(self) -> dict[str, str]:
        """Return the reasons why it is not ready, by part; none if it is."""
        answer = self.get("/readyz")
        assert answer.status_code in {200, 503}, answer
        reasons: dict[str, str] = answer.json().get("reasons", {})
        assert (answer.status_code == 200) == (not reasons), answer.text
        return reasons

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        return not self.unready()

    def wait_until_ready(self) -> None:
        """Wait until it says that it is ready."""
        eventually(self.ready, "readiness")

    def wait_until_unready(self, part: str, reason: str) -> None:
        """Wait until that part says that it is not ready, with these words in its reason."""
        eventually(lambda: reason in self.unready().get(part, ""), f"{reason!r} of the {part}")

    def wait_until(self, predicate: Callable[[Scrape], object], what: str = "metrics") -> Scrape:
        """Scrape until the predicate holds, and return that scrape."""

        def scrape() -> Scrape | None:
            taken = self.metrics()
            return taken if predicate(taken) else None

        found = eventually(scrape, what)
        assert found is not None
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to stop in order, as Kubernetes does."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a warning, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for its end; return the exit status."""
        status = self._process.wait(timeout_s)
        self._reader.join()
        return status

    def stop(self) -> int:
        """Ask it to stop in order and wait for that; return the exit status."""
        self.terminate()
        return self.wait()

    @property
    def status(self) -> int | None:
        """The exit status, or minus the signal that ended it; None while it runs."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.status is None


def _parse(text: str) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
