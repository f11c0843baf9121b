"""The way of an undeliverable event into the dead letters.

Whoever gives an event up puts it here, without waiting. It stays in flight, and
its hub event undone, until the store has confirmed it; while the store fails,
the writes are tried again, and the channel fills up rather than memory.
"""

from collections import deque
from datetime import UTC, datetime

import trio

from ..delivery.channel import Channel
from ..errors import Retryable
from ..model import Item, Outcome
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import Metrics
from ..storage import call
from . import store as deadletter
from .store import DeadLetter, Store

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


class Undeliverable:
    """Dead letters on their way to the store."""

    def __init__(self, store: Store, channel: Channel, metrics: Metrics) -> None:
        self._store = store
        self._channel = channel
        self._metrics = metrics
        self._waiting: deque[tuple[Item, DeadLetter]] = deque()
        self._arrived = trio.Event()
        self._limiter = trio.CapacityLimiter(1)
        self._wrong: str | None = None
        self.heartbeat = Heartbeat(trio.current_time)

    def put(
        self, item: Item, reason: str, detail: str, *, status: int | None = None, attempts: int = 0
    ) -> None:
        """Give an event up, for a reason. Its item must be in flight in the channel."""
        event, ticket = item.event, item.ticket
        letter = DeadLetter(
            body=event.raw,
            kind="audit-event" if event.audit_id else "raw",
            reason=reason,
            detail=detail,
            partition=ticket.partition,
            sequence_number=ticket.position.sequence_number,
            offset=ticket.position.offset,
            enqueued_at=datetime.fromtimestamp(item.enqueued_at, UTC),
            dead_at=datetime.now(UTC),
            status=status,
            attempts=attempts,
            audit_id=event.audit_id,
            stage=event.stage,
            cluster=event.cluster,
            category=event.category,
        )
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
                await self._write(self._segment())

    def _segment(self) -> list[tuple[Item, DeadLetter]]:
        segment: list[tuple[Item, DeadLetter]] = []
        size = 0
        while self._waiting and len(segment) < SEGMENT_MAX_LETTERS:
            size += len(self._waiting[0][1].body)
            if segment and size > SEGMENT_MAX_BYTES:
                break
            segment.append(self._waiting.popleft())
        return segment

    async def _write(self, segment: list[tuple[Item, DeadLetter]]) -> None:
        letters = [letter for _, letter in segment]
        # The name stays the same over all attempts: one that failed may have been written.
        name = deadletter.segment_name(letters[0].dead_at)
        data = deadletter.encode(letters)
        pause_s = BACKOFF_MIN_S
        while True:
            self.heartbeat.expect(within_s=60.0)
            try:
                await call(self._limiter, self._store.write, name, data)
            except Retryable as fault:
                self._wrong = fault.reason
                log.warning("dead letters not written, trying again", reason=fault.reason)
                self.heartbeat.expect(within_s=pause_s + 60.0)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_MAX_S)
            else:
                break
        self._wrong = None
        log.info("dead letters written", segment=name, count=len(letters))
        self._settle(segment)

    def _settle(self, segment: list[tuple[Item, DeadLetter]]) -> None:
        for item, letter in segment:
            item.ticket.settle()
            self._metrics.dead_letters.by_reason.labels(letter.reason).inc()
        self._channel.settle([item for item, _ in segment])
        self._metrics.outcomes.by_outcome.labels(Outcome.DEAD_LETTERED).inc(len(segment))
        # What was never read as an audit event was not counted as one either.
        self._metrics.outcomes.errors.inc(
            sum(letter.kind == "audit-event" for _, letter in segment)
        )


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
