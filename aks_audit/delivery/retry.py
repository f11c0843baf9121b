"""The one loop that posts until the endpoint takes what it is given, or is given up."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from ..config.settings import Exhausted, SinkConfig
from ..errors import Retryable
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import PostMetrics
from .circuit_breaker import CircuitBreaker

log = get_logger("sink")

HOLD_PROBE_MAX_S = 4.0
"""While events are held, the longest pause between two probes of the endpoint: short enough to be
back within 5 s of its return, long enough to cost it nothing."""
RETRY_DELAY_MAX_S = 30.0
"""The longest pause between two retries, however many POSTMAXRETRIES allows."""
SLACK_S = 30.0
"""How much longer than it should take a step may last before the sender counts as stalled."""

T = TypeVar("T")


def _never() -> bool:
    return False


class Retrying:
    """Posts, and posts again, as the settings of a destination say.

    Args:
        config: How often and how soon it is tried again, and what follows the last retry.
        breaker: Of the destination: shared by all its senders.
        metrics: Counts what is sent again.
        heartbeat: Of the one task that posts.
    """

    def __init__(
        self,
        config: SinkConfig,
        breaker: CircuitBreaker,
        metrics: PostMetrics,
        heartbeat: Heartbeat,
    ) -> None:
        self._config = config
        self._breaker = breaker
        self._metrics = metrics
        self._heartbeat = heartbeat

    async def post(
        self,
        items: Sequence[T],
        attempt: Callable[[Sequence[T]], Awaitable[None]],
        overtaken: Callable[[], bool] = _never,
    ) -> int:
        """Post until the endpoint takes something; returns how many items it took.

        That is all of them, or the first alone where the endpoint was away: each probe may be
        taken although no answer comes, so it carries one item only. It is none where something
        else has to be posted before.

        Args:
            items: What to post, at least one.
            attempt: Posts once. Raises Retryable or Rejected.
            overtaken: Asked before each attempt whether something else goes before.

        Raises:
            Rejected: The endpoint refuses the payload.
            Retryable: All retries are used, and POSTEXHAUSTED is not hold.
        """
        breaker = self._breaker
        retries = 0
        while True:
            self._heartbeat.rest()  # another sender may have the turn for long
            async with breaker.turn():
                if overtaken():
                    return 0
                batch = items[:1] if breaker.is_open else items
                try:
                    await attempt(batch)
                except Retryable as fault:
                    retries += 1
                    pause_s = await self._failed(batch, fault, retries)
                else:
                    breaker.close()
                    return len(batch)
            await self._pause(pause_s)
            self._metrics.retry.inc(len(batch))

    async def _failed(self, batch: Sequence[object], fault: Retryable, retries: int) -> float:
        """Give up, or say how many seconds to pause once the turn is another sender's."""
        config, breaker = self._config, self._breaker
        log.warning("POST failed", reason=fault.reason, events=len(batch), retries=retries)
        if retries > config.max_retries:
            if config.exhausted is not Exhausted.HOLD:
                raise fault
            breaker.open(fault.reason)
        pause_s = retry_pause_s(config, retries, fault, held=breaker.is_open)
        if breaker.is_open:
            await self._pause(pause_s)  # within the turn: the others wait as well
            return 0.0
        return pause_s

    async def _pause(self, pause_s: float) -> None:
        self._heartbeat.expect(within_s=pause_s + SLACK_S)
        await trio.sleep(pause_s)


def retry_pause_s(config: SinkConfig, retries: int, fault: Retryable, *, held: bool) -> float:
    """Seconds before the n-th retry: n * POSTRETRYINCREMENTALDELAY, or what was asked for."""
    # Whoever probes holds up all the others, also one that has retries left.
    ceiling = HOLD_PROBE_MAX_S if held else RETRY_DELAY_MAX_S
    return max(min(retries * config.retry_delay_s, ceiling), fault.retry_after_s)
