"""A destination: one webhook with its own queue, senders and dead letters.

Without ROUTES there is one. With ROUTES each route has its own, and its own share of
the bytes in flight. So the events of a Falco that is away fill its own destination
only. Once that is full the intake waits for it, and with the intake every partition
whose next hub event holds an event for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from ..config.routes import DEFAULT
from ..config.settings import Config, SinkConfig
from ..deadletters.store import Store
from ..deadletters.writer import Writer
from ..model import Outcome
from ..ops.health import Heartbeat
from ..ops.metrics import Metrics, PostMetrics
from .channel import Channel
from .circuit_breaker import CircuitBreaker
from .doubt import Doubt, window
from .inflight import InFlight
from .ratelimit import RateLimiter, Unlimited
from .webhook import LIST_OVERHEAD


@dataclass(frozen=True, slots=True)
class Destination:
    """What the intake, the senders and the dead-letter writer of one webhook share."""

    name: str
    """The name of the route."""
    config: SinkConfig
    in_flight: InFlight
    channel: Channel
    doubt: Doubt
    letters: Writer
    breaker: CircuitBreaker
    limiter: RateLimiter | Unlimited
    heartbeats: Sequence[Heartbeat]
    """One for each sender."""
    metrics: PostMetrics

    def stalled(self) -> str | None:
        """The liveness check of the senders."""
        return next(filter(None, (beat.overdue() for beat in self.heartbeats)), None)


def sinks(config: Config) -> dict[str, SinkConfig]:
    """The webhooks by name of their route; the default one is always there."""
    return {DEFAULT: config.sink} | {
        route.name: replace(config.sink, url=route.url.url, display_url=route.url.display)
        for route in config.events.routes
    }


def open_destinations(config: Config, store: Store, metrics: Metrics) -> dict[str, Destination]:
    """The destinations by name of their route."""
    known = sinks(config)
    # The other half is for what comes from Event Hubs and is not yet here.
    share = config.inflight_max_bytes // 2 // len(known)
    return {
        name: open_destination(name, each, InFlight(share, metrics.outcomes), store, metrics)
        for name, each in known.items()
    }


DOUBT_SHARE = 3 / 4
"""Of what may be in flight, the part that may be in doubt: the rest is for what is being posted and
what comes next. Bodies are smaller where they would take more: else the senders would have nothing
to post before a quiet time has passed."""


def open_destination(
    name: str, config: SinkConfig, in_flight: InFlight, store: Store, metrics: Metrics
) -> Destination:
    """One destination; does no I/O."""
    # A batch larger than a burst would wait for a time in which others could have gone.
    most = min(config.batch_max_events, config.burst) if config.rate_events_per_s else None
    max_events, max_bytes = most or config.batch_max_events, config.batch_max_bytes
    if bodies := window(config):
        max_events = min(max_events, int(in_flight.max_events * DOUBT_SHARE / bodies))
        max_bytes = min(max_bytes, int(in_flight.max_bytes * DOUBT_SHARE / bodies))
    channel = Channel(in_flight, max_events=max(1, max_events), max_bytes=max_bytes - LIST_OVERHEAD)
    doubt = Doubt(config, in_flight, metrics.doubt, channel.wake, channel.waiting)
    channel.overtaken = lambda: doubt.waiting
    return Destination(
        name=name,
        config=config,
        in_flight=in_flight,
        channel=channel,
        doubt=doubt,
        letters=Writer(
            store,
            settle=partial(in_flight.settle, outcome=Outcome.DEAD_LETTERED),
            metrics=metrics.dead_letters,
        ),
        breaker=CircuitBreaker(metrics.posts),
        limiter=limiter_of(config),
        heartbeats=[Heartbeat(trio.current_time) for _ in range(config.concurrency)],
        metrics=metrics.posts,
    )


def limiter_of(config: SinkConfig) -> RateLimiter | Unlimited:
    """The rate limit that the settings ask for."""
    if config.rate_events_per_s is None:
        return Unlimited()
    return RateLimiter(config.rate_events_per_s, config.burst)
