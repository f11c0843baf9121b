"""The nursery: wires the stages, and owns the shutdown.

::

    Event Hubs --> source --> intake --> channel --> senders --> Falco
                                                        |
        checkpoint store <-- checkpointer <-- ledger <--'
"""

import signal
import time
from collections.abc import AsyncIterator, Collection, Iterable

import trio

from .checkpoints import choice as checkpoint_store
from .checkpoints.checkpointer import Checkpointer
from .checkpoints.collector import PartitionCollector
from .checkpoints.ledger import Ledger
from .config.routes import DEFAULT
from .config.settings import Config, LogLevel
from .deadletters import store as dead_letter_store
from .delivery.destination import Destination, open_destinations
from .delivery.intake import Intake
from .delivery.sender import run_pool
from .hub.source import Source
from .ops import logs, server
from .ops.health import Health
from .ops.logs import get_logger
from .ops.memory import give_back_large_blocks
from .ops.metrics import LostLines, Metrics
from .version import python_version, sdk_version, version

log = get_logger("app")

LAST_WRITES_S = 15.0
"""How long the last checkpoints and the release of the partitions may take."""


async def forward(config: Config) -> None:
    """Forward until SIGTERM or SIGINT, then shut down in order. Raises Fatal."""
    give_back_large_blocks()
    metrics, health, ledger = Metrics(), Health(), Ledger()
    store = checkpoint_store.open_store(config.checkpoint.location)
    checkpointer = Checkpointer(store, config.hub, ledger, metrics.checkpoints)
    letters = dead_letter_store.open_store(config.dead_letters, config.hub)
    destinations = open_destinations(config, letters, metrics)
    intake = Intake(
        config.events,
        destinations,
        metrics.intake,
        max_event_bytes=config.sink.max_event_bytes,
        log_events=config.log.level <= LogLevel.DEBUG,
    )
    source = Source(config, store, checkpointer, intake.forward, metrics.receiver)
    _measure(metrics, ledger, checkpointer, destinations.values(), source)
    _check(health, source, intake, checkpointer, destinations.values())

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(logs.run)
            await nursery.start(
                server.run, config.stats, metrics, health, lambda: _status(config, health, ledger)
            )
            for destination in destinations.values():
                nursery.start_soon(run_pool, destination)
                nursery.start_soon(destination.letters.run)
            nursery.start_soon(checkpointer.run, config.checkpoint.interval_s)
            nursery.start_soon(source.run)
            await _shutdown_asked_for(signals)
            await _shut_down(config, source, destinations.values(), checkpointer)
            nursery.cancel_scope.cancel()


async def _shutdown_asked_for(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        log.info("shutting down", signal=signal.Signals(number).name)
        return


async def _shut_down(
    config: Config,
    source: Source,
    destinations: Collection[Destination],
    checkpointer: Checkpointer,
) -> None:
    """Stop the source, drain the senders, write the last checkpoints, release the partitions."""
    source.pause()
    with trio.move_on_after(config.shutdown_grace_s) as grace:
        for destination in destinations:
            await destination.in_flight.drained()
    if grace.cancelled_caught:
        log.warning(
            "not drained within the grace period; what is left will be sent after the restart",
            events=sum(destination.in_flight.events for destination in destinations),
        )
    with trio.move_on_after(LAST_WRITES_S) as writing:
        await checkpointer.flush()
        await source.close()
    if writing.cancelled_caught:
        log.warning("the partitions were not released in time: their ownership will expire")
    log.info("stopped")


def _measure(
    metrics: Metrics,
    ledger: Ledger,
    checkpointer: Checkpointer,
    destinations: Collection[Destination],
    source: Source,
) -> None:
    """Have what is not counted event by event computed at each scrape."""
    in_flight = [destination.in_flight for destination in destinations]
    process = metrics.process
    process.inflight_events.set_function(lambda: sum(each.events for each in in_flight))
    process.inflight_bytes.set_function(lambda: sum(each.bytes for each in in_flight))
    doubts = [destination.doubt for destination in destinations]
    metrics.doubt.events.set_function(lambda: sum(each.events for each in doubts))
    metrics.receiver.owned.set_function(source.partitions_owned)
    metrics.receiver.unowned.set_function(source.partitions_unowned)
    process.build_info.labels(version(), python_version(), sdk_version()).set(1)
    metrics.registry.register(LostLines(logs.lost_lines))
    metrics.registry.register(PartitionCollector(ledger, checkpointer, time.time))


def _check(
    health: Health,
    source: Source,
    intake: Intake,
    checkpointer: Checkpointer,
    destinations: Iterable[Destination],
) -> None:
    """Have every stage take part in the probes."""
    health.add("source", ready=source.ready, live=source.stalled)
    health.add("intake", live=intake.heartbeat.overdue)
    health.add("checkpoints", ready=checkpointer.ready, live=checkpointer.heartbeat.overdue)
    for destination in destinations:
        of = "" if destination.name == DEFAULT else f" of {destination.name}"
        letters = destination.letters
        health.add(f"sink{of}", ready=destination.breaker.ready, live=destination.stalled)
        health.add(f"dead letters{of}", ready=letters.ready, live=letters.heartbeat.overdue)


def _status(config: Config, health: Health, ledger: Ledger) -> dict[str, object]:
    """The status page: no secret is anywhere near it."""
    return {
        "name": "aks-audit-log",
        "version": version(),
        "event_hub": f"{config.hub.namespace}/{config.hub.name}",
        "consumer_group": config.hub.consumer_group,
        "webhook": config.sink.display_url,
        "unready": health.unready(),
        "stalled": health.stalled(),
        "partitions": {
            known.partition: {
                "received": known.seen,
                "done": known.done.sequence_number,
                "checkpoint": known.written.sequence_number,
            }
            for known in ledger.partitions()
        },
    }
