"""Falco's queue: a body is answered once it is queued, and its events are looked at later.

The plugin queues 50 bodies, and one worker takes them out. While the queue is full the answer
waits. Whatever is queued when Falco ends is lost, although it was answered with 200.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path

import trio

from testkit.falco.received import Received
from testkit.falco.rules import Accepted, apply_rules, count_items

Take = Callable[[bytes, Mapping[str, str]], Awaitable[None]]
"""Takes a body; the answer is sent when it returns."""


class BodyQueue:
    """One life of a Falco that queues: with its end, all that is queued is lost.

    Args:
        bodies: Bodies that the queue holds, besides the one at the worker.
        events_per_s: The speed of the worker; 0 is without a limit.
        received: Is told of a body when the worker is through with it.
        journal: A file that gets a line for each event at the same time.
    """

    def __init__(
        self, bodies: int, events_per_s: float, received: Received, journal: Path | None
    ) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[bytes, Mapping[str, str]]](
            bodies
        )
        self._event_s = 1 / events_per_s if events_per_s else 0.0
        self._received = received
        self._journal = journal
        self._free_at = -inf
        self.stopping = False
        """Whether Falco has been told to end: it still answers, but drops what it answers."""

    def stop(self) -> None:
        """Behave as Falco does after SIGTERM: whoever waits is answered as well."""
        self.stopping = True
        self._receive.close()

    async def take(self, body: bytes, head: Mapping[str, str]) -> None:
        """Wait for room in the queue."""
        with suppress(trio.BrokenResourceError):
            await self._send.send((body, head))

    async def work(self) -> None:
        """Be the worker."""
        with suppress(trio.ClosedResourceError):
            async for body, head in self._receive:
                # Against the clock and not by pauses alone, so that short bodies are as fast.
                now = trio.current_time()
                self._free_at = max(self._free_at, now) + count_items(body) * self._event_s
                await trio.sleep_until(self._free_at)
                if self.stopping:
                    break
                self._received.take(body, head)
                if self._journal is not None:
                    _note(self._journal, body)


def _note(journal: Path, body: bytes) -> None:
    keys = (each.key for each in apply_rules(body) if isinstance(each, Accepted))
    with journal.open("a") as file:
        file.writelines(f"{audit_id} {stage}\n" for audit_id, stage in keys)
