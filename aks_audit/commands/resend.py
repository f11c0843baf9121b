"""Dead letters back to Falco.

It goes segment by segment. A segment stays as it is until all of it has been tried; then it
is removed, or replaced by what is left of it. So a replay may be interrupted at any moment,
and be run twice: what was accepted but not yet removed (of one segment at most, and only
after a kill) is sent once more, and nothing is ever lost.

A dead letter is not removed while it is in doubt (`delivery.doubt`): after the last one of a
segment, a quiet time passes first. If the endpoint breaks meanwhile, what was accepted of the
segment is sent once more; if it does so again and again, the segment stays.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self

import trio
from prometheus_client import CollectorRegistry

from ..audit.annotate import name_cluster
from ..audit.event import classify
from ..audit.unpack import unpack
from ..config.settings import Config, Exhausted, SinkConfig
from ..deadletters.letter import DeadLetter, encode
from ..deadletters.store import Store
from ..delivery.circuit_breaker import CircuitBreaker
from ..delivery.destination import limiter_of, sinks
from ..delivery.doubt import EVENTS_PER_S, window
from ..delivery.retry import Retrying
from ..delivery.router import Router
from ..delivery.sender import LOOK_S
from ..delivery.webhook import LIST_OVERHEAD, Webhook, open_webhook
from ..errors import Broken, Fatal, Rejected, Retryable, Silent
from ..model import AuditEvent
from ..ops.health import Heartbeat
from ..ops.metrics import PostMetrics
from ..storage import call
from .segments import Selection, Tally, read_segments

UPDATE_S = 30.0
"""How long removing what was accepted may take after an interruption."""
TRIES = 3
"""How often what is in doubt is sent, before the replay ends: one of the dead letters may be what
breaks the endpoint."""


@dataclass(slots=True)
class Resent(Tally):
    """What a replay found and did, in dead letters."""

    accepted: int = 0
    refused: int = 0
    unreadable: int = 0
    """Ones in which no event can be read that Falco would take: they stay."""

    @property
    def left(self) -> int:
        """How many stay."""
        return self.found - self.accepted


async def resend(
    config: Config, store: Store, wanted: Selection, tally: Resent, progress: Callable[[], None]
) -> None:
    """Send dead letters again and remove what is accepted.

    Raises:
        Fatal: The endpoint, or the store, did not answer as it should after all retries. What
            was not accepted is still there.
    """
    limiter = trio.CapacityLimiter(1)
    async with AsyncExitStack() as stack:
        endpoints = {
            name: await stack.enter_async_context(_Endpoint(sink))
            for name, sink in sinks(config).items()
        }
        sender = _Resender(config, endpoints, tally, progress)
        segments = read_segments(store, tally)
        while (found := await _next(limiter, segments)) is not None:
            name, letters = found
            matching = list(filter(wanted, letters))
            tally.add(matching)
            try:
                await sender.send(matching)
            finally:
                # Also after an interruption: what is removed is not sent a second time.
                with trio.move_on_after(UPDATE_S, shield=True):
                    accepted = await sender.confirmed()
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
            await call(limiter, store.write, name, encode(left))
    except Retryable as fault:
        raise Fatal(f"the dead letters cannot be updated: {fault.reason}") from fault


async def _next(
    limiter: trio.CapacityLimiter, segments: Iterator[tuple[str, list[DeadLetter]]]
) -> tuple[str, list[DeadLetter]] | None:
    try:
        return await call(limiter, next, segments, None)
    except Retryable as fault:
        raise Fatal(f"the dead letters cannot be read: {fault.reason}") from fault


class _Endpoint:
    """One webhook, with the same retries as forwarding; after the last one the replay ends."""

    def __init__(self, config: SinkConfig) -> None:
        # A command does not hold events for ever: after the last retry it ends, and says why.
        self._config = replace(config, exhausted=Exhausted.DEADLETTER)
        self._metrics = PostMetrics(CollectorRegistry())
        self._retrying = Retrying(
            self._config,
            CircuitBreaker(self._metrics),
            self._metrics,
            Heartbeat(trio.current_time),
        )
        self._stack = AsyncExitStack()
        self._webhook: Webhook
        self.breaks = 0
        """How often it broke: what it took before may be lost."""

    async def __aenter__(self) -> Self:
        opening = open_webhook(self._config, self._metrics)
        self._webhook = await self._stack.enter_async_context(opening)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def post(self, events: Sequence[AuditEvent]) -> None:
        """Post events that fit one body. Raises Rejected, or Fatal after the last retry."""
        self.notice()
        try:
            await self._retrying.post([event.raw for event in events], self._attempt)
        except Retryable as fault:
            raise Fatal(f"the endpoint does not take events: {fault.reason}") from fault

    async def _attempt(self, events: Sequence[bytes]) -> None:
        try:
            await self._webhook.post(events)
        except (Broken, Silent):  # nothing else is under way that could have been answered
            self.breaks += 1
            raise

    def notice(self) -> None:
        """Look whether the endpoint has closed its connection, which is idle."""
        if self._webhook.lost():
            self.breaks += 1


class _Resender:
    """Sends dead letters, one by one: what becomes of one does not touch the others."""

    def __init__(
        self,
        config: Config,
        endpoints: Mapping[str, _Endpoint],
        tally: Resent,
        progress: Callable[[], None],
    ) -> None:
        self._sink = config.sink
        self._annotate = config.events.annotate_cluster
        self._router = Router(config.events.routes)
        self._endpoints = endpoints
        self._tally = tally
        self._progress = progress
        self._limiter = limiter_of(config.sink)
        self._doubt = bool(window(config.sink))
        self._in_doubt: list[DeadLetter] = []
        self._lost: list[DeadLetter] = []
        """Accepted, but the endpoint broke soon after."""
        self._breaks = 0
        self._quiet_at = 0.0

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send dead letters until none is in doubt. Raises Fatal."""
        self._in_doubt, self._lost = [], []
        for _ in range(TRIES):
            for letter in letters:
                await self._send(letter)
            await self._quiet()
            if not self._lost:
                return
            letters, self._lost = self._lost, []
        raise Fatal("the endpoint broke each time after it took dead letters: they stay")

    async def confirmed(self) -> set[int]:
        """Wait for the end of the doubt; returns the ids of what the endpoint has processed."""
        await self._quiet()
        return set(map(id, self._in_doubt))

    async def _send(self, letter: DeadLetter) -> None:
        limit = self._sink.max_event_bytes
        events = readable(letter)
        if not events or max(len(each.raw) for each in events) > limit:
            self._tally.unreadable += 1
            return
        if self._annotate:
            events = [name_cluster(each, limit) for each in events]
        try:
            await self._send_events(events)
        except Rejected:
            self._tally.refused += 1
        else:
            self._take_back()  # before its own doubt begins
            self._in_doubt.append(letter)
            self._tally.accepted += 1
            self._quiet_at = trio.current_time() + self._sink.indoubt_s
            self._notice()
        self._progress()

    def _notice(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.notice()
        self._take_back()

    def _take_back(self) -> None:
        """Have what was accepted before an endpoint broke sent again."""
        breaks = sum(endpoint.breaks for endpoint in self._endpoints.values())
        if breaks != self._breaks and self._doubt:
            self._lost += self._in_doubt
            self._tally.accepted -= len(self._in_doubt)
            self._in_doubt = []
        self._breaks = breaks

    async def _quiet(self) -> None:
        """Wait until the endpoint must have processed what is in doubt."""
        self._notice()
        if not self._in_doubt or not self._doubt:
            return
        quiet_at = self._quiet_at + len(self._in_doubt) / EVENTS_PER_S
        while (left_s := quiet_at - trio.current_time()) > 0:
            await trio.sleep(min(left_s, LOOK_S))
            self._notice()

    async def _send_events(self, events: Sequence[AuditEvent]) -> None:
        """Send events where they belong. Raises Rejected or Fatal."""
        for name, some in self._router.sort(events).items():
            for batch in _batches(self._sink, some):
                await self._limiter.acquire(len(batch))
                await self._endpoints[name].post(batch)


def readable(letter: DeadLetter) -> list[AuditEvent]:
    """The audit events of a dead letter, as this version reads them; none if it cannot."""
    found = classify(letter.body, letter.cluster, letter.category)
    if isinstance(found, AuditEvent):
        return [found]
    received = letter.enqueued_at.isoformat()
    events, skipped = unpack(letter.body, received=received, salvage_cut=False)
    return [] if any(skip.raw for skip in skipped) else events


def _batches(config: SinkConfig, events: Sequence[AuditEvent]) -> Iterator[list[AuditEvent]]:
    """Events in bodies that the endpoint takes."""
    size, batch = LIST_OVERHEAD, list[AuditEvent]()
    for event in events:
        size += len(event.raw) + 1
        if batch and (len(batch) == config.batch_max_events or size > config.batch_max_bytes):
            yield batch
            size, batch = LIST_OVERHEAD + len(event.raw) + 1, []
        batch.append(event)
    if batch:
        yield batch
