"""A lane: one webhook with its own channel, senders and dead letters.

Without ROUTES there is one. With ROUTES each route has its own, and its own
share of the bytes in flight, so that a Falco that is away fills its own lane
and no other.
"""

from dataclasses import dataclass, replace

import trio

from ..config.routes import DEFAULT
from ..config.settings import Config, SinkConfig
from ..deadletters.store import Store
from ..deadletters.writer import Undeliverable
from ..ops.metrics import Metrics
from . import sender as sink
from .channel import Channel
from .sender import Sink


@dataclass(frozen=True, slots=True)
class Lane:
    """What an audit event meets on its way to one webhook."""

    name: str
    channel: Channel
    undeliverable: Undeliverable
    sink: Sink


def sinks(config: Config) -> dict[str, SinkConfig]:
    """The webhooks by name of their route; the default one is always there."""
    return {DEFAULT: config.sink} | {
        route.name: replace(config.sink, url=route.url.url, display_url=route.url.display)
        for route in config.events.routes
    }


def open_lanes(config: Config, letters: Store, metrics: Metrics) -> dict[str, Lane]:
    """The lanes by name of their route."""
    known = sinks(config)
    # Half of the bytes in flight are the SDK's, for what it prefetches.
    share = config.inflight_max_bytes // 2 // len(known)
    return {name: _lane(name, each, share, letters, metrics) for name, each in known.items()}


def _lane(name: str, config: SinkConfig, share: int, letters: Store, metrics: Metrics) -> Lane:
    channel = Channel(share)
    undeliverable = Undeliverable(letters, channel, metrics)
    return Lane(name, channel, undeliverable, Sink(config, channel, undeliverable, metrics))


async def run(lane: Lane) -> None:
    """Send a lane's events and write its dead letters, for ever."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run, lane.sink)
        nursery.start_soon(lane.undeliverable.run)
