"""The commands on dead letters: look at them, and send them again.

Replay works segment by segment and leaves a segment as it was until all of it
has been tried; then it is removed, or replaced by what is left of it. So it may
be interrupted at any moment, and be run twice: what was accepted but not yet
removed (of one segment at most, and only after a kill) is sent once more,
nothing is ever lost.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import trio
from prometheus_client import CollectorRegistry

from ..audit.annotate import annotate
from ..audit.event import judge
from ..audit.unpack import unpack
from ..config.routes import Router
from ..config.settings import Config, SinkConfig
from ..deadletters import store as deadletter
from ..deadletters.store import DeadLetter, Store
from ..delivery import destination as lanes
from ..delivery.ratelimit import RateLimiter, Unlimited
from ..delivery.retry import retry_pause_s
from ..delivery.webhook import LIST_OVERHEAD, Poster, open_poster
from ..errors import Fatal, Rejected, Retryable
from ..model import AuditEvent
from ..ops.metrics import PostMetrics
from ..storage import call

UPDATE_S = 30.0
"""How long removing what was accepted may take after an interruption."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters a command is about."""

    since: datetime | None = None
    """Dead at this moment or later."""
    until: datetime | None = None
    """Dead before this moment."""
    reasons: frozenset[str] = frozenset()
    """One of these reasons; any where empty."""

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        return (
            (self.since is None or letter.dead_at >= self.since)
            and (self.until is None or letter.dead_at < self.until)
            and (not self.reasons or letter.reason in self.reasons)
        )


@dataclass(slots=True)
class Tally:
    """What a command found and did, in dead letters."""

    found: int = 0
    accepted: int = 0
    refused: int = 0
    unreadable: int = 0
    """Ones in which no event can be read that Falco would take: they stay."""
    segments: int = 0
    """How many there were at the start; one that comes later is the next replay's."""
    segments_read: int = 0
    damaged_segments: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Count dead letters as found."""
        for letter in letters:
            self.found += 1
            self.reasons[letter.reason] += 1
            self.oldest = min(self.oldest or letter.dead_at, letter.dead_at)
            self.newest = max(self.newest or letter.dead_at, letter.dead_at)

    @property
    def left(self) -> int:
        """How many stay."""
        return self.found - self.accepted


def read(store: Store, tally: Tally) -> Iterator[tuple[str, list[DeadLetter]]]:
    """All segments with their dead letters; damaged ones are noted, and left alone."""
    names = list(store.names())
    tally.segments = len(names)
    for name in names:
        data = store.read(name)
        tally.segments_read += 1
        if data is None:
            continue  # another replay was quicker
        try:
            yield name, deadletter.decode(data)
        except ValueError:
            tally.damaged_segments.append(name)


def survey(store: Store, wanted: Filter) -> tuple[Tally, Iterator[DeadLetter]]:
    """What there is: the dead letters one by one, and a tally that is whole at their end."""
    tally = Tally()

    def letters() -> Iterator[DeadLetter]:
        for _, segment in read(store, tally):
            matching = list(filter(wanted, segment))
            tally.add(matching)
            yield from matching

    return tally, letters()


async def replay(
    config: Config, store: Store, wanted: Filter, tally: Tally, progress: Callable[[], None]
) -> None:
    """Send dead letters again and remove what is accepted. Raises Fatal.

    Fatal means that the endpoint, or the store, did not answer as it should
    after all retries: what was not accepted is still there.
    """
    limiter = trio.CapacityLimiter(1)
    metrics = PostMetrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        posters = {
            name: await stack.enter_async_context(open_poster(sink, metrics))
            for name, sink in lanes.sinks(config).items()
        }
        replayer = _Replayer(config, posters, tally, progress)
        segments = read(store, tally)
        while (found := await _next(limiter, segments)) is not None:
            name, letters = found
            matching = list(filter(wanted, letters))
            tally.add(matching)
            accepted: set[int] = set()
            try:
                await replayer.send(matching, accepted)
            finally:
                # Also after an interruption: what is removed is not sent a second time.
                with trio.move_on_after(UPDATE_S, shield=True):
                    left = [letter for letter in letters if id(letter) not in accepted]
                    await _update(limiter, store, name, left, changed=bool(accepted))
            progress()


async def _update(
    limiter: trio.CapacityLimiter,
    store: Store,
    name: str,
    left: Sequence[DeadLetter],
    *,
    changed: bool,
) -> None:
    try:
        if not left:
            await call(limiter, store.remove, name)
        elif changed:
            await call(limiter, store.write, name, deadletter.encode(left))
    except Retryable as fault:
        raise Fatal(f"the dead letters cannot be updated: {fault.reason}") from fault


async def _next(
    limiter: trio.CapacityLimiter, segments: Iterator[tuple[str, list[DeadLetter]]]
) -> tuple[str, list[DeadLetter]] | None:
    try:
        return await call(limiter, next, segments, None)
    except Retryable as fault:
        raise Fatal(f"the dead letters cannot be read: {fault.reason}") from fault


class _Replayer:
    """Sends dead letters, one by one: what becomes of one is no other's business."""

    def __init__(
        self,
        config: Config,
        posters: Mapping[str, Poster],
        tally: Tally,
        progress: Callable[[], None],
    ) -> None:
        sink = self._sink = config.sink
        self._config = config.events
        self._router = Router(config.events.routes)
        self._posters = posters
        self._tally = tally
        self._progress = progress
        self._limiter = (
            RateLimiter(sink.rate_events_per_s, sink.burst)
            if sink.rate_events_per_s
            else Unlimited()
        )

    async def send(self, letters: Iterable[DeadLetter], accepted: set[int]) -> None:
        """Send dead letters; adds the ids of those that are done. Raises Fatal."""
        for letter in letters:
            events = readable(letter, name_cluster=self._config.annotate_cluster)
            if not events or max(len(each.raw) for each in events) > self._sink.max_event_bytes:
                self._tally.unreadable += 1
                continue
            try:
                await self._send_events(events)
            except Rejected:
                self._tally.refused += 1
            else:
                accepted.add(id(letter))
                self._tally.accepted += 1
            self._progress()

    async def _send_events(self, events: Sequence[AuditEvent]) -> None:
        """Send events where they belong. Raises Rejected or Fatal."""
        for name, some in self._router.sort(events).items():
            for batch in _batches(self._sink, [event.raw for event in some]):
                await self._limiter.acquire(len(batch))
                await _post(self._sink, self._posters[name], batch)


def readable(letter: DeadLetter, *, name_cluster: bool = False) -> list[AuditEvent]:
    """The audit events of a dead letter, as this version reads them; none if it cannot."""
    verdict = judge(letter.body, letter.cluster, letter.category)
    if isinstance(verdict, AuditEvent):
        events = [verdict]
    else:
        received = letter.enqueued_at.isoformat()
        events, skipped = unpack(letter.body, received=received, mend_cut=False)
        if any(skip.raw for skip in skipped):
            return []
    return list(map(_name_cluster, events)) if name_cluster else events


def _name_cluster(event: AuditEvent) -> AuditEvent:
    if not event.cluster:
        return event
    return msgspec.structs.replace(event, raw=annotate(event.raw, event.cluster))


def _batches(config: SinkConfig, events: Sequence[bytes]) -> Iterator[list[bytes]]:
    size, batch = LIST_OVERHEAD, list[bytes]()
    for event in events:
        size += len(event) + 1
        if batch and (len(batch) == config.batch_max_events or size > config.batch_max_bytes):
            yield batch
            size, batch = LIST_OVERHEAD + len(event) + 1, []
        batch.append(event)
    if batch:
        yield batch


async def _post(config: SinkConfig, poster: Poster, events: Sequence[bytes]) -> None:
    """Post with the retries of the configuration. Raises Rejected, or Fatal after the last."""
    retries = 0
    while True:
        try:
            await poster.post(events)
        except Retryable as fault:
            retries += 1
            if retries > config.max_retries:
                raise Fatal(f"the endpoint does not take events: {fault.reason}") from fault
            await trio.sleep(retry_pause_s(config, retries, fault, held=False))
        else:
            return


def parse_moment(text: str) -> datetime:
    """A moment of a command line: RFC 3339, or a date in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
