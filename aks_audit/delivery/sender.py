"""The sender pool of a destination: take a batch, post it, retry, split, hold.

POSTCONCURRENCY senders share one channel. A sender takes a batch, posts it, and stays
with it until each of its events is done. What an answer means:

- 2xx: delivered, as soon as it is out of doubt (`doubt`).
- a payload fault (400, 413, 422): the batch is split in halves until the one event
  stands alone that the endpoint refuses. That event becomes a dead letter, the others
  are delivered. An endpoint that refuses an empty list as well refuses everything: then
  it is the endpoint that is sick, and not the event.
- an endpoint fault: the same bytes again, after n * POSTRETRYINCREMENTALDELAY; after
  POSTMAXRETRIES, POSTEXHAUSTED decides: hold, deadletter or drop.
"""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import trio

from ..config.settings import Exhausted
from ..errors import Broken, Rejected, Retryable, Silent
from ..model import Item, Outcome
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from .destination import Destination
from .doubt import CRASHES, Body
from .retry import SLACK_S, Retrying
from .webhook import Webhook, open_webhook

log = get_logger("sink")


LOOK_S = 0.5
"""Between two looks at the idle connections, while something is in doubt."""


async def run_pool(destination: Destination) -> None:
    """Send a destination's events, for ever."""
    config, metrics = destination.config, destination.metrics
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        senders = []
        for heartbeat in destination.heartbeats:
            webhook = await stack.enter_async_context(open_webhook(config, metrics))
            senders.append(Sender(destination, webhook, heartbeat))
            nursery.start_soon(senders[-1].run)
        nursery.start_soon(end_doubt, destination, senders)


async def end_doubt(destination: Destination, senders: Iterable["Sender"]) -> None:
    """Let time end the doubt, as long as the endpoint keeps its connections; for ever."""
    while True:
        for sender in senders:
            sender.notice()
        look_at = destination.doubt.release_due()
        await trio.sleep_until(min(look_at, trio.current_time() + LOOK_S))


class Sender:
    """One of the pool: one batch at a time."""

    def __init__(self, destination: Destination, webhook: Webhook, heartbeat: Heartbeat) -> None:
        self._destination = destination
        self._config = destination.config
        self._doubt = destination.doubt
        self._webhook = webhook
        self._heartbeat = heartbeat
        self._mark = self._doubt.mark()
        """When the last POST began."""
        self._retrying = Retrying(
            destination.config, destination.breaker, destination.metrics, heartbeat
        )

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._heartbeat.rest()
            body = await self._next()
            await self._destination.limiter.acquire(len(body.items))
            await self.deliver(body)
            self._doubt.put_down(body)

    async def _next(self) -> Body:
        """Wait for the next body: what has to be posted again goes before what is new."""
        destination, doubt = self._destination, self._doubt
        while True:
            await doubt.unblocked()
            body = doubt.take()
            if body is not None:
                return body
            items = await destination.channel.take()
            if items:
                destination.metrics.events.inc(len(items))
                body = doubt.fresh(items)
                if not doubt.overtakes(body):
                    return body
                doubt.give_back(body)

    async def deliver(self, body: Body) -> None:
        """Stay with a body until each event is accepted, given up, or given back."""
        pending = [(body, 0)]
        while pending:
            body, attempts = pending.pop()
            try:
                taken = await self._retrying.post(
                    body.items, self._post, partial(self._overtaken, body)
                )
            except Rejected as fault:
                if len(body.items) > 1:
                    halves = body.split(len(body.items) // 2)
                    pending += [(half, attempts + 1) for half in reversed(halves)]
                else:
                    self._dead_letter(body.items, "rejected", fault, attempts + 2)
            except Retryable as fault:
                self._give_up(body.items, fault, attempts + self._config.max_retries + 1)
            else:
                if not taken:
                    for each, _ in (*pending, (body, 0)):
                        self._doubt.give_back(each)
                    return
                if taken < len(body.items):
                    body, rest = body.split(taken)
                    pending.append((rest, attempts))
                self._doubt.accept(body, self._mark)

    def _overtaken(self, body: Body) -> bool:
        self.notice()
        return self._doubt.overtakes(body)

    def notice(self) -> None:
        """Look whether the endpoint has closed the connection, which is idle."""
        if self._webhook.lost():
            reason = "it closed a connection"
            self._set_aside(self._doubt.broke(self._mark, reason), Retryable(reason))

    def _set_aside(self, items: Sequence[Item], fault: Retryable) -> None:
        """Keep the event that breaks the endpoint as a dead letter."""
        self._dead_letter(items, "crash", fault, CRASHES)

    async def _attempt(self, events: Sequence[bytes]) -> None:
        """Post once, and note what it says of the endpoint. Raises Retryable or Rejected."""
        mark = self._mark = self._doubt.mark()
        try:
            await self._webhook.post(events)
        except Broken as fault:
            self._set_aside(self._doubt.broke(mark, fault.reason), fault)
            raise
        except Silent as fault:
            self._set_aside(self._doubt.silent(mark, fault.reason), fault)
            raise

    async def _post(self, items: Sequence[Item]) -> None:
        """Post once. Raises Retryable or Rejected."""
        self._heartbeat.expect(within_s=3 * self._config.timeout_s + SLACK_S)
        self._destination.metrics.batch_events.observe(len(items))
        events = [item.event.raw for item in items]
        try:
            await self._attempt(events)
        except Rejected as fault:
            if len(items) > 1:
                raise
            await self._check_endpoint(fault)
            # The endpoint may have been sick only a moment ago: an event becomes a dead letter
            # only when it is refused twice, with a healthy answer in between.
            await self._attempt(events)

    async def _check_endpoint(self, fault: Rejected) -> None:
        """Raise Retryable where the endpoint refuses not this event, but everything.

        An empty EventList says nothing that an endpoint could object to. One that refuses it
        (a proxy, a wrong path) refuses everything.
        """
        try:
            await self._attempt([])
        except Rejected as again:
            raise Retryable(
                f"it refuses even an empty list: {again.reason}", status=again.status
            ) from fault
        self._destination.breaker.close()

    def _dead_letter(
        self, items: Sequence[Item], reason: str, fault: Rejected | Retryable, attempts: int
    ) -> None:
        for item in items:
            self._destination.letters.put(
                item, reason, fault.reason, status=fault.status, attempts=attempts
            )

    def _give_up(self, items: Sequence[Item], fault: Retryable, attempts: int) -> None:
        if self._config.exhausted is Exhausted.DEADLETTER:
            self._dead_letter(items, "exhausted", fault, attempts)
            return
        for item in items:
            log.error(
                "dropped after the last retry",
                reason=fault.reason,
                **item.where(),
                audit_id=item.event.audit_id,
                stage=item.event.stage,
            )
        self._destination.in_flight.settle(items, Outcome.DROPPED)
