"""The sender pool of a destination: take a batch, post it, retry, split, hold.

POSTCONCURRENCY senders share one channel. A sender takes a batch, posts it, and stays
with it until each of its events is done. What an answer means:

- 2xx: delivered.
- a payload fault (400, 413, 422): the batch is split in halves until the one event
  stands alone that the endpoint refuses. That event becomes a dead letter, the others
  are delivered. An endpoint that refuses an empty list as well refuses everything: then
  it is the endpoint that is sick, and not the event.
- an endpoint fault: the same bytes again, after n * POSTRETRYINCREMENTALDELAY; after
  POSTMAXRETRIES, POSTEXHAUSTED decides: hold, deadletter or drop.
"""

from collections.abc import Sequence

import trio

from ..config.settings import Exhausted
from ..errors import Rejected, Retryable
from ..model import Item, Outcome
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from .destination import Destination
from .retry import SLACK_S, Retrying
from .webhook import Webhook, open_webhook

log = get_logger("sink")


async def run_pool(destination: Destination) -> None:
    """Send a destination's events, for ever."""
    config, metrics = destination.config, destination.metrics
    async with open_webhook(config, metrics) as webhook, trio.open_nursery() as nursery:
        for heartbeat in destination.heartbeats:
            nursery.start_soon(Sender(destination, webhook, heartbeat).run)


class Sender:
    """One of the pool: one batch at a time."""

    def __init__(self, destination: Destination, webhook: Webhook, heartbeat: Heartbeat) -> None:
        self._destination = destination
        self._config = destination.config
        self._webhook = webhook
        self._heartbeat = heartbeat
        self._retrying = Retrying(
            destination.config, destination.breaker, destination.metrics, heartbeat
        )

    async def run(self) -> None:
        """Send for ever."""
        destination = self._destination
        while True:
            self._heartbeat.rest()
            items = await destination.channel.take()
            destination.metrics.events.inc(len(items))
            await destination.limiter.acquire(len(items))
            await self.deliver(items)

    async def deliver(self, items: Sequence[Item]) -> None:
        """Stay with a batch until each event is done, or on its way to the dead letters."""
        pending = [(items, 0)]
        while pending:
            batch, attempts = pending.pop()
            try:
                taken = await self._retrying.post(batch, self._post)
            except Rejected as fault:
                half = len(batch) // 2
                if half:
                    pending += [(batch[half:], attempts + 1), (batch[:half], attempts + 1)]
                else:
                    self._dead_letter(batch, "rejected", fault, attempts + 2)
            except Retryable as fault:
                self._give_up(batch, fault, attempts + self._config.max_retries + 1)
            else:
                self._destination.in_flight.settle(batch[:taken], Outcome.DELIVERED)
                if taken < len(batch):
                    pending.append((batch[taken:], attempts))

    async def _post(self, items: Sequence[Item]) -> None:
        """Post once. Raises Retryable or Rejected."""
        self._heartbeat.expect(within_s=3 * self._config.timeout_s + SLACK_S)
        self._destination.metrics.batch_events.observe(len(items))
        events = [item.event.raw for item in items]
        try:
            await self._webhook.post(events)
        except Rejected as fault:
            if len(items) > 1:
                raise
            await self._check_endpoint(fault)
            # The endpoint may have been sick only a moment ago: an event becomes a dead letter
            # only when it is refused twice, with a healthy answer in between.
            await self._webhook.post(events)

    async def _check_endpoint(self, fault: Rejected) -> None:
        """Raise Retryable where the endpoint refuses not this event, but everything.

        An empty EventList says nothing that an endpoint could object to. One that refuses it
        (a proxy, a wrong path) refuses everything.
        """
        try:
            await self._webhook.post([])
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
