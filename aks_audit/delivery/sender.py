"""The sender pool: coalesce, post, retry, split, hold.

POSTCONCURRENCY senders share one channel. A sender takes one event and whatever
else is waiting, posts the batch, and stays with it until each of its events is
done. What an answer means:

- 2xx: delivered.
- a payload fault (400, 413, 422): the batch is split in halves until the one
  event stands alone that the endpoint refuses; it becomes a dead letter, the
  others go on. An endpoint that refuses everything is no judge of payloads.
- an endpoint fault: the same bytes again, after n * POSTRETRYINCREMENTALDELAY;
  after POSTMAXRETRIES, POSTEXHAUSTED decides: hold, deadletter or drop.
"""

import time
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

import trio

from ..config.settings import Exhausted, SinkConfig
from ..deadletters.writer import Undeliverable
from ..errors import Rejected, Retryable
from ..model import Item, Outcome
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import Metrics
from .channel import Channel, EndOfChannel
from .circuit_breaker import Gate
from .ratelimit import RateLimiter, Unlimited
from .retry import retry_pause_s
from .webhook import LIST_OVERHEAD, Poster, open_poster

log = get_logger("sink")

PACE_S = 0.05
"""Between two batches that are not full, of all senders. A POST costs as much as handling some 100
events (bench), so a steady stream is worth 25 ms of waiting; after a rest nothing waits."""
SLACK_S = 30.0
"""How much longer than it may take a step of a sender may last before the sender is stalled."""


class Sink:
    """What the senders share."""

    def __init__(
        self, config: SinkConfig, channel: Channel, undeliverable: Undeliverable, metrics: Metrics
    ) -> None:
        self.config = config
        self.channel = channel
        self.undeliverable = undeliverable
        self.metrics = metrics
        self.gate = Gate(metrics.posts)
        self.heartbeats = [Heartbeat(trio.current_time) for _ in range(config.concurrency)]
        self.limiter = (
            RateLimiter(config.rate_events_per_s, config.burst)
            if config.rate_events_per_s
            else Unlimited()
        )

    def settle(self, items: Sequence[Item], outcome: Outcome) -> None:
        """Note what became of events, and give their room back."""
        count = len(items)
        for ticket, settled in Counter(map(_ticket, items)).items():
            ticket.settle(settled)
        self.channel.settle(items)
        self.metrics.outcomes.by_outcome.labels(outcome).inc(count)
        if outcome is Outcome.DELIVERED:
            self.metrics.outcomes.success.inc(count)
            newest = items[-1]
            self.metrics.outcomes.delay_seconds.observe(max(0.0, time.time() - newest.enqueued_at))
        else:
            self.metrics.outcomes.errors.inc(count)

    def stalled(self) -> str | None:
        """The liveness check."""
        return next(filter(None, (beat.overdue() for beat in self.heartbeats)), None)


async def run(sink: Sink) -> None:
    """Run the sender pool until the channel is closed and empty."""
    async with (
        open_poster(sink.config, sink.metrics.posts) as poster,
        trio.open_nursery() as nursery,
    ):
        for heartbeat in sink.heartbeats:
            nursery.start_soon(Sender(sink, poster, heartbeat).run)


class Sender:
    """One of the pool: one batch at a time."""

    def __init__(self, sink: Sink, poster: Poster, heartbeat: Heartbeat) -> None:
        self._sink = sink
        self._config = sink.config
        self._poster = poster
        self._heartbeat = heartbeat

    async def run(self) -> None:
        """Send until the channel is closed and empty."""
        sink, config = self._sink, self._config
        max_events = config.batch_max_events
        if config.rate_events_per_s:
            max_events = min(max_events, config.burst)
        while True:
            self._heartbeat.rest()
            try:
                items = await sink.channel.take(
                    max_events, config.batch_max_bytes - LIST_OVERHEAD, pace_s=PACE_S
                )
            except EndOfChannel:
                return
            sink.metrics.posts.events.inc(len(items))
            await sink.limiter.acquire(len(items))
            await self.deliver(items)

    async def deliver(self, items: Sequence[Item]) -> None:
        """Stay with a batch until each of its events is done, or on its way to the dead letters."""
        pending = [(items, 0)]
        while pending:
            batch, attempts = pending.pop()
            try:
                taken = await self._post_until_taken(batch)
            except Rejected as fault:
                half = len(batch) // 2
                if half:
                    pending += [(batch[half:], attempts + 1), (batch[:half], attempts + 1)]
                else:
                    self._bury(batch, "rejected", fault, attempts + 2)
            except Retryable as fault:
                self._give_up(batch, fault, attempts + self._config.max_retries + 1)
            else:
                self._sink.settle(batch[:taken], Outcome.DELIVERED)
                if taken < len(batch):
                    pending.append((batch[taken:], attempts))

    async def _post_until_taken(self, items: Sequence[Item]) -> int:
        """Post events until the endpoint takes them; returns how many of them it took.

        That is all of them, or the first alone where the endpoint was away: each
        probe may be taken although no answer comes, so it carries one event only.
        Raises Rejected, or Retryable when all retries are used and not to be held.
        """
        gate, config = self._sink.gate, self._config
        retries = 0
        while True:
            self._heartbeat.rest()  # it may be another sender's turn for long
            async with gate.turn():
                batch = items if gate.held_because is None else items[:1]
                try:
                    await self._post(batch)
                except Retryable as fault:
                    retries += 1
                    log.warning(
                        "POST failed", reason=fault.reason, events=len(batch), retries=retries
                    )
                    if retries > config.max_retries:
                        if config.exhausted is not Exhausted.HOLD:
                            raise
                        gate.hold(fault.reason)
                    held = gate.held_because is not None
                    pause_s = retry_pause_s(config, retries, fault, held=held)
                    if held:
                        await self._pause(pause_s)  # in turn: the others wait as well
                        pause_s = 0.0
                else:
                    return len(batch)
            await self._pause(pause_s)
            self._sink.metrics.posts.retry.inc(len(batch))

    async def _pause(self, pause_s: float) -> None:
        self._heartbeat.expect(within_s=pause_s + SLACK_S)
        await trio.sleep(pause_s)

    async def _post(self, items: Sequence[Item]) -> None:
        sink = self._sink
        self._heartbeat.expect(within_s=3 * self._config.timeout_s + SLACK_S)
        sink.metrics.posts.batch_events.observe(len(items))
        events = [item.event.raw for item in items]
        try:
            await self._poster.post(events)
        except Rejected as fault:
            if len(items) > 1:
                raise
            await self._check_the_judge(fault)
            # Perhaps it was sick only a moment ago: who is refused has to be refused again.
            await self._poster.post(events)
        sink.gate.release()

    async def _check_the_judge(self, fault: Rejected) -> None:
        """Raise Retryable where the endpoint refuses not this event, but everything.

        An empty EventList is a payload that says nothing and that nobody can
        have anything against; whoever refuses it (a proxy, a wrong path) is sick.
        """
        try:
            await self._poster.post([])
        except Rejected as verdict:
            raise Retryable(
                f"it refuses even an empty list: {verdict.reason}", status=verdict.status
            ) from fault
        self._sink.gate.release()

    def _bury(
        self, items: Sequence[Item], reason: str, fault: Rejected | Retryable, attempts: int
    ) -> None:
        for item in items:
            self._sink.undeliverable.put(
                item, reason, fault.reason, status=fault.status, attempts=attempts
            )

    def _give_up(self, items: Sequence[Item], fault: Retryable, attempts: int) -> None:
        if self._config.exhausted is Exhausted.DEADLETTER:
            self._bury(items, "exhausted", fault, attempts)
            return
        for item in items:
            log.error("dropped after the last retry", reason=fault.reason, **_where(item))
        self._sink.settle(items, Outcome.DROPPED)


_ticket = attrgetter("ticket")


def _where(item: Item) -> dict[str, str | int]:
    return {
        "partition": item.ticket.partition,
        "sequence_number": item.ticket.position.sequence_number,
        "audit_id": item.event.audit_id,
        "stage": item.event.stage,
    }
