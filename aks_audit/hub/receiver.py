"""One SDK client, alone on a thread of its own.

The asyncio client rather than the synchronous one, because the latter serves all partitions in
turn on one thread: at 32 partitions with sparse traffic an event waits 4 s on average for its
turn, here 35 ms (measured, azure-eventhub 5.15.1). And here a callback that waits holds up its
own partition only.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property, partial
from typing import Any

import certifi
import msgspec
from anyio.from_thread import BlockingPortal
from azure.eventhub import CheckpointStore, CloseReason, EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from ..checkpoints.ledger import PartitionLedger
from ..config.settings import HubConfig
from ..errors import Retryable, describe
from ..ops.logs import get_logger
from .handover import Handover, on_trio
from .lag_probe import LagProbe
from .ownership import SdkStore
from .sdk import credit, forget_delivery_tags, observe_openings, to_hub_event
from .start_position import CreateCheckpoint, StartPositions
from .watchdog import BALANCE_S, Watchdog

log = get_logger("receiver")

EMPTY_CALLBACK_S = 1.0
"""The SDK calls back without events after this long: the partition's heartbeat."""
TICK_S = 1.0

_claim: ContextVar[PartitionLedger] = ContextVar("claim")
"""The ledger of the claim under which the current task reads. The SDK runs each claim in a task
of its own, and may run two of one partition at a time, the old one still closing: what the old one
brings must not be noted as progress of the new one, which has yet to read what lies before."""


class Wiring(msgspec.Struct, frozen=True):
    """What a receiver is given: the way to trio, and what it tells there."""

    portal: BlockingPortal
    handover: Handover
    store: CheckpointStore
    inflight_max_bytes: int
    start: CreateCheckpoint
    """On trio: write a first checkpoint."""
    claim: Callable[[str], Awaitable[PartitionLedger]]
    """async (partition) -> ledger; on trio: make the checkpoint ours"""
    release: Callable[[PartitionLedger], Awaitable[None]]
    """async (ledger) -> None; on trio: write the last checkpoint of a claim"""


class Receiver:
    """One client, from its start to its close. Used once; the source makes another."""

    def __init__(self, hub: HubConfig, wiring: Wiring) -> None:
        self._hub = hub
        self._wiring = wiring
        self._partitions: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._stopped = False
        self._starts = StartPositions(
            hub, partial(self._make_client, None), partial(on_trio, wiring.portal, wiring.start)
        )
        self.watchdog = Watchdog()
        self._probe = LagProbe(self.watchdog)

    def run(self) -> None:
        """Receive until `stop`; blocks its thread. Raises what the SDK raises."""
        forget_delivery_tags()
        asyncio.run(self._main())

    def stop(self) -> None:
        """From any thread: close the client, release the partitions, let `run` return."""
        self._stopped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopped:  # before there was a loop to tell
            return
        wiring = self._wiring
        store = SdkStore(wiring.store, wiring.portal, self._listed, self.watchdog)
        self._client = self._make_client(store)
        async with self._client as client:
            tasks = [
                asyncio.create_task(work)
                for work in (
                    self._receive(client),
                    self._probe.run(client),
                    self._tick(),
                    self._stopping.wait(),
                )
            ]
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await client.close()
            # The partitions are released; what still runs of the SDK is a pause of its balancer.
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
            await _release(store)
            for task in done:
                task.result()

    async def _tick(self) -> None:
        """Show that the thread's loop turns."""
        while True:
            self.watchdog.ticked(time.thread_time())
            await asyncio.sleep(TICK_S)

    def _make_client(self, store: SdkStore | None) -> EventHubConsumerClient:
        client = EventHubConsumerClient.from_connection_string(
            self._hub.connection_string.reveal(),
            self._hub.consumer_group,
            eventhub_name=self._hub.name,
            checkpoint_store=store,
            load_balancing_interval=BALANCE_S,
            ssl_context=self._tls,
            user_agent="aks-audit-log",
        )
        observe_openings(client, self._on_opening)
        return client

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The one context of all connections. Raises OSError.

        Each partition has a connection, and the SDK would read the authorities anew for each:
        15 ms of CPU and 0.7 MB (measured). They are certifi's, as with the SDK, if not ours.
        """
        return ssl.create_default_context(cafile=str(self._hub.ca_file or certifi.where()))

    async def _receive(self, client: EventHubConsumerClient) -> None:
        self._partitions = partitions = set(await client.get_partition_ids())
        self._probe.partitions = partitions
        prefetch, batch = credit(self._wiring.inflight_max_bytes, len(partitions))
        log.info("receiving", hub=self._hub.name, partitions=len(partitions), prefetch=prefetch)
        await client.receive_batch(
            on_event_batch=self._on_events,
            on_error=self._on_error,
            on_partition_initialize=self._on_claimed,
            on_partition_close=self._on_closed,
            max_batch_size=batch,
            max_wait_time=EMPTY_CALLBACK_S,
            prefetch=prefetch,
        )

    async def _listed(
        self, checkpoints: list[dict[str, Any]], owned: set[str]
    ) -> list[dict[str, Any]]:
        return await self._starts.listed(self._client, checkpoints, self._partitions | owned)

    async def _on_claimed(self, context: PartitionContext) -> None:
        partition = context.partition_id
        ledger = await on_trio(self._wiring.portal, self._wiring.claim, partition)
        start = self._starts.get(partition)
        if start is None or start.sequence_number > ledger.seen:
            # The SDK would read from behind what is delivered or in flight.
            raise Retryable(f"the checkpoint of partition {partition} went back meanwhile")
        _claim.set(ledger)
        self._probe.received[partition] = ledger.written.sequence_number
        self.watchdog.claimed(partition)
        log.info(
            "partition claimed", partition=partition, sequence_number=ledger.written.sequence_number
        )

    async def _on_events(self, context: PartitionContext, events: Sequence[EventData]) -> None:
        partition = context.partition_id
        ledger = _claim.get(None)
        if ledger is None:
            # The SDK reads on where on_partition_initialize failed; its close gets us another try.
            raise Retryable(f"partition {partition} is not claimed")
        if ledger.cut_off:
            # By another replica, perhaps one that is gone again: the SDK may not have noticed.
            raise Retryable(f"partition {partition} was claimed anew")
        if events:
            hub_events = [to_hub_event(partition, event) for event in events]
            self.watchdog.blocked.add(partition)
            await self._wiring.handover.put((ledger, hub_events))
            self._probe.received[partition] = hub_events[-1].position.sequence_number
        # In this order: whoever looks in between sees a partition that waits or has called back.
        self.watchdog.called_back(partition, events=len(events))
        self.watchdog.blocked.discard(partition)

    async def _on_closed(self, context: PartitionContext, reason: CloseReason) -> None:
        partition = context.partition_id
        self.watchdog.closed(partition)
        self._probe.forget(partition)
        ledger = _claim.get(None)
        log.info("partition released", partition=partition, reason=reason.name.lower())
        if ledger is not None:
            await on_trio(self._wiring.portal, self._wiring.release, ledger)

    def _on_opening(self, partition: str, error: Exception | None) -> None:
        reason = None if error is None else describe(error)
        if reason is not None and reason != self.watchdog.unopened.get(partition):
            log.warning("a partition cannot be opened", partition=partition, reason=reason)
        self.watchdog.opened(partition, reason)

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        # The load balancer's errors come without a partition.
        partition = None if context is None else context.partition_id
        reason = describe(error)
        self.watchdog.failed(partition, reason)
        log.warning("receiving failed", partition=partition, reason=reason)


async def _release(store: SdkStore) -> None:
    try:
        await store.release()
    except Retryable as fault:
        log.warning("not released: the ownership will expire", reason=fault.reason)
