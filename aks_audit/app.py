"""The nursery: wires the stages, and owns the shutdown.

::

    Event Hubs --> source --> unpack --> channel --> sink pool --> Falco
                                                         |
        checkpoint store <-- checkpointer <-- ledger <---'
"""

import signal
import time
from collections.abc import AsyncIterator, Collection, Iterable

import trio

from .checkpoints import store as stores
from .checkpoints.checkpointer import Checkpointer
from .checkpoints.collector import PartitionCollector
from .checkpoints.ledger import Ledger
from .config.routes import DEFAULT
from .config.settings import Config, LogLevel
from .deadletters import store as deadletter
from .delivery import destination as lanes
from .delivery.destination import Lane
from .delivery.intake import Intake
from .hub.source import Source
from .ops import server as stats
from .ops.health import Health
from .ops.logs import get_logger
from .ops.memory import give_back_large_blocks
from .ops.metrics import Metrics
from .version import python_version, sdk_version, version

log = get_logger("app")

LAST_WRITES_S = 15.0
"""How long the last checkpoints and the release of the partitions may take."""


async def forward(config: Config) -> None:
    """Forward until SIGTERM or SIGINT, then shut down in order. Raises Fatal."""
    give_back_large_blocks()
    metrics, health, ledger = Metrics(), Health(), Ledger()
    store = stores.open_store(config.checkpoint)
    checkpointer = Checkpointer(store, config.hub, ledger, metrics.checkpoints)
    letters = deadletter.open_store(config.dead_letters, config.hub)
    open_lanes = lanes.open_lanes(config, letters, metrics)
    intake = Intake(
        config.events,
        open_lanes,
        metrics.intake,
        max_event_bytes=config.sink.max_event_bytes,
        log_events=config.log.level <= LogLevel.DEBUG,
    )
    source = Source(config, store, checkpointer, intake.forward, metrics.receiver)
    _measure(metrics, ledger, checkpointer, open_lanes.values())
    _check(health, source, intake, checkpointer, open_lanes.values())

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                stats.run, config.stats, metrics, health, lambda: _status(config, health, ledger)
            )
            for lane in open_lanes.values():
                nursery.start_soon(lanes.run, lane)
            nursery.start_soon(checkpointer.run, config.checkpoint.interval_s)
            nursery.start_soon(source.run)
            await _shutdown_asked_for(signals)
            await _shut_down(config, source, open_lanes.values(), checkpointer)
            nursery.cancel_scope.cancel()


async def _shutdown_asked_for(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        log.info("shutting down", signal=signal.Signals(number).name)
        return


async def _shut_down(
    config: Config, source: Source, open_lanes: Collection[Lane], checkpointer: Checkpointer
) -> None:
    """Stop the source, drain the senders, write the last checkpoints, release the partitions."""
    source.pause()
    with trio.move_on_after(config.shutdown_grace_s) as grace:
        for lane in open_lanes:
            await lane.channel.drained()
    if grace.cancelled_caught:
        log.warning(
            "not drained within the grace period; what is left will be sent after the restart",
            events=sum(lane.channel.events_in_flight for lane in open_lanes),
        )
    with trio.move_on_after(LAST_WRITES_S) as writing:
        await checkpointer.flush()
        await source.close()
    if writing.cancelled_caught:
        log.warning("the partitions were not released in time: their ownership will expire")
    log.info("stopped")


def _measure(
    metrics: Metrics, ledger: Ledger, checkpointer: Checkpointer, open_lanes: Collection[Lane]
) -> None:
    """Have what is not counted event by event computed at each scrape."""
    channels = [lane.channel for lane in open_lanes]
    metrics.process.inflight_events.set_function(
        lambda: sum(each.events_in_flight for each in channels)
    )
    metrics.process.inflight_bytes.set_function(
        lambda: sum(each.bytes_in_flight for each in channels)
    )
    metrics.process.build_info.labels(version(), python_version(), sdk_version()).set(1)
    metrics.registry.register(PartitionCollector(ledger, checkpointer, time.time))


def _check(
    health: Health,
    source: Source,
    intake: Intake,
    checkpointer: Checkpointer,
    open_lanes: Iterable[Lane],
) -> None:
    """Have every stage take part in the probes."""
    health.add("source", ready=source.ready, live=source.stalled)
    health.add("intake", live=intake.heartbeat.overdue)
    health.add("checkpoints", ready=checkpointer.ready, live=checkpointer.heartbeat.overdue)
    for lane in open_lanes:
        of = "" if lane.name == DEFAULT else f" of {lane.name}"
        letters = lane.undeliverable
        health.add(f"sink{of}", ready=lane.sink.gate.ready, live=lane.sink.stalled)
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
