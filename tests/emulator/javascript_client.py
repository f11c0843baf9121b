"""Azure's JavaScript SDK in a process of its own, for the tests that drive the emulator with it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.emulator.helpers import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = Path(__file__).parent / "javascript/client.mjs"
_MODULES = Path(__file__).resolve().parents[2] / ".work/javascript"


def missing() -> str | None:
    """Return why the SDK cannot be run, or None if it can."""
    if shutil.which("node") is None:
        return "node is missing, which the JavaScript SDK runs on"
    if not (_MODULES / "node_modules/@azure/event-hubs").is_dir():
        return "the JavaScript SDK is not installed: make javascript"
    return None


class JavaScriptClient:
    """A producer and any number of consumers of one hub, until the block ends."""

    def __init__(self, connection: str, hub: str = "audit") -> None:
        self._arguments = ["node", str(_SCRIPT), str(_MODULES), connection, hub]
        self._ids = itertools.count()
        self._lines: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(DEADLINE) == 0
        finally:
            self._process.kill()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(map(json.loads, self._process.stdout))

    def ask(self, command: str, **arguments: object) -> Any:
        """Have a command done; return its answer, or {"error": …}."""
        number = next(self._ids)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": command, **arguments}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        until(lambda: self._find(id=number), lambda: (command, arguments, self._lines))
        (line,) = self._find(id=number)
        return line.get("answer", line)

    def subscribe(
        self,
        name: str,
        partitions: Sequence[str],
        *,
        group: str = "$Default",
        epoch: int | None = None,
        after: int | None = None,
    ) -> None:
        """Receive from partitions: from the beginning, or after a sequence number."""
        given = {"epoch": epoch, "after": after}
        options = {key: value for key, value in given.items() if value is not None}
        self.ask("subscribe", name=name, partitions=partitions, group=group, **options)

    def wait(self, name: str, count: int) -> list[tuple[str, int, str]]:
        """Wait until a subscription has so many events: partition, sequence number and body."""
        until(lambda: len(self.events(name)) >= count, lambda: self._lines)
        return self.events(name)

    def events(self, name: str) -> list[tuple[str, int, str]]:
        """Return the events of a subscription so far."""
        lines = [line for line in self._find(name=name) if "body" in line]
        return [(line["partition"], line["sequenceNumber"], line["body"]) for line in lines]

    def wait_for_error(self, name: str) -> dict[str, str]:
        """Wait until a subscription has failed, and return the first error."""

        def errors() -> list[dict[str, str]]:
            return [line["error"] for line in self._find(name=name) if "error" in line]

        until(errors, lambda: self._lines)
        return errors()[0]

    def _find(self, **fields: object) -> list[dict[str, Any]]:
        return [line for line in list(self._lines) if fields.items() <= line.items()]
