"""The way of an undeliverable event into the dead letters.

Whoever gives an event up puts it here, without waiting. The event stays in flight, and
its hub event undone, until the store has confirmed the dead letter. While the store
fails, the write is tried again, and what is in flight fills up instead of the memory.
"""

from collections import deque
from collections.abc import Callable, Sequence

import trio

from ..errors import Retryable
from ..model import Item
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import DeadLetterMetrics
from ..storage import call
from .letter import DeadLetter, encode, letter_of, segment_name
from .store import Store

log = get_logger("deadletters")

LINGER_S = 0.5
"""How long a first dead letter waits for more: a burst makes one segment, not hundreds."""
SEGMENT_MAX_LETTERS = 1000
SEGMENT_MAX_BYTES = 4 * 1024 * 1024
"""Bytes of bodies in a segment: one upload, and what replay holds in memory."""
LOGGED_MAX = 100
"""So many waiting dead letters are logged one by one: a hub event of 1 MB can make 200,000, and
logging them would hold up everything else for many seconds. Each is in the store anyway."""
BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 30.0
WRITE_S = 60.0
"""How long one write may take before it is given up, and tried again."""
STALLED_S = 2 * WRITE_S
"""How long a step may take before the writer counts as stalled."""

Settle = Callable[[Sequence[Item]], None]
"""Settles the events whose dead letters the store has confirmed."""


class Writer:
    """Dead letters on their way to the store.

    Args:
        store: Where they are kept.
        settle: Is called with the events whose dead letters are kept.
        metrics: Counts what is kept, by reason.
    """

    def __init__(self, store: Store, settle: Settle, metrics: DeadLetterMetrics) -> None:
        self._store = store
        self._settle = settle
        self._metrics = metrics
        self._waiting: deque[tuple[Item, DeadLetter]] = deque()
        self._arrived = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self._wrong: str | None = None
        self.heartbeat = Heartbeat(trio.current_time)

    def put(
        self, item: Item, reason: str, detail: str, *, status: int | None = None, attempts: int = 0
    ) -> None:
        """Give an event up.

        Args:
            item: The event, which is in flight.
            reason: The class of the fault, see `DeadLetter`.
            detail: For people.
            status: The HTTP status, where there was an answer.
            attempts: How many POSTs carried the event.
        """
        letter = letter_of(item, reason, detail, status=status, attempts=attempts)
        if len(self._waiting) < LOGGED_MAX:
            _log(letter)
        self._waiting.append((item, letter))
        self._arrived.set()

    def ready(self) -> str | None:
        """The readiness check."""
        return None if self._wrong is None else f"dead letters cannot be written: {self._wrong}"

    async def run(self) -> None:
        """Write dead letters for ever."""
        while True:
            self.heartbeat.rest()
            await self._arrived.wait()
            self._arrived = trio.Event()
            await trio.sleep(LINGER_S)
            while self._waiting:
                segment = self._segment()
                letters = [letter for _, letter in segment]
                await self._write(letters)
                self._confirmed(segment)

    def _segment(self) -> list[tuple[Item, DeadLetter]]:
        """Take what goes into the next segment."""
        segment: list[tuple[Item, DeadLetter]] = []
        size = 0
        while self._waiting and len(segment) < SEGMENT_MAX_LETTERS:
            size += len(self._waiting[0][1].body)
            if segment and size > SEGMENT_MAX_BYTES:
                break
            segment.append(self._waiting.popleft())
        return segment

    async def _write(self, letters: Sequence[DeadLetter]) -> None:
        """Write a segment, however often it takes."""
        # The name stays the same over all attempts: one that failed may have been written.
        name, data = segment_name(letters[0].dead_at), encode(letters)
        pause_s = BACKOFF_MIN_S
        while True:
            self.heartbeat.expect(within_s=STALLED_S)
            try:
                write = self._store.write
                await call(self._limiter, write, name, data, within_s=WRITE_S)
            except Retryable as fault:
                self._wrong = fault.reason
                log.warning("dead letters not written, trying again", reason=fault.reason)
                self.heartbeat.expect(within_s=pause_s + STALLED_S)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_MAX_S)
            else:
                break
        self._wrong = None
        log.info("dead letters written", segment=name, count=len(letters))

    def _confirmed(self, segment: Sequence[tuple[Item, DeadLetter]]) -> None:
        for _, letter in segment:
            self._metrics.by_reason.labels(letter.reason).inc()
        self._settle([item for item, _ in segment])


def _log(letter: DeadLetter) -> None:
    log.error(
        "dead letter",
        reason=letter.reason,
        detail=letter.detail,
        status=letter.status,
        partition=letter.partition,
        sequence_number=letter.sequence_number,
        audit_id=letter.audit_id,
        stage=letter.stage,
    )
