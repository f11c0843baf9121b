"""One SDK client, alone on a thread of its own.

The asyncio client rather than the synchronous one, because the latter serves all partitions in
turn on one thread: at 32 partitions with sparse traffic an event waits 4 s on average for its
turn, here 35 ms (measured, azure-eventhub 5.15.1). And here a callback that waits holds up its
own partition only.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property, partial

import msgspec
import trio
from anyio.from_thread import BlockingPortal
from azure.eventhub import CloseReason, EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from ..checkpoints.ledger import PartitionLedger
from ..checkpoints.record import Found
from ..checkpoints.store import Store
from ..config.authorities import bundle
from ..config.settings import HubConfig
from ..errors import Retryable, describe
from ..model import HubEvent, Position
from ..ops.logs import get_logger
from .balancing import BALANCE_S
from .claim import AnotherStream, Claim
from .credit import CreditPool
from .handover import Handover, on_trio
from .lag_probe import LagProbe
from .ownership import SdkStore
from .reader import EMPTY_CALLBACK_S, Reader
from .sdk.conversion import displaced, to_hub_event
from .sdk.link import PartitionLink
from .sdk.patches import decode_whatever_comes, forget_delivery_tags, read_with
from .start_position import CreateCheckpoint, Restart, StartPositions
from .stream import refused
from .watchdog import Watchdog

log = get_logger("receiver")

TICK_S = 1.0

RECHECK_S = 30.0
"""How long a partition that is not to be read stays so, before its checkpoint is read again."""


_claim: ContextVar[Claim] = ContextVar("claim")
"""The claim under which the current task reads. The SDK runs each claim in a task of its own, and
may run two of one partition at a time, the old one still closing: what the old one brings must not
be noted as progress of the new one, which has yet to read what lies before."""


class Wiring(msgspec.Struct, frozen=True):
    """What a receiver is given: the way to trio, and what it tells there."""

    portal: BlockingPortal
    handover: Handover
    store: Store
    store_threads: trio.CapacityLimiter
    """For the load balancing's calls to the store, of all clients."""
    inflight_max_bytes: int
    start: CreateCheckpoint
    """On trio: write a first checkpoint."""
    restart: Restart
    """On trio: have a partition begin anew, whose stream is another one."""
    claim: Callable[[str, Position], Awaitable[PartitionLedger]]
    """async (partition, position) -> ledger; on trio: make the checkpoint ours"""
    release: Callable[[PartitionLedger], Awaitable[None]]
    """async (ledger) -> None; on trio: write the last checkpoint of a claim"""
    contested: Callable[[str], None]
    """(partition) -> None: another program has taken a partition; on the SDK's thread"""
    suspects: set[str]
    """Partitions whose stream may be another one by now. It outlives the receiver."""


class Receiver:
    """One client, from its start to its close. Used once; the source makes another."""

    def __init__(self, hub: HubConfig, wiring: Wiring) -> None:
        self._hub = hub
        self._wiring = wiring
        self._partitions: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._stopped = False
        self._claims: dict[str, Claim] = {}
        """By partition, the claim that is current: the latest one."""
        self._starts = StartPositions(
            hub,
            partial(self._make_client, None),
            partial(on_trio, wiring.portal, wiring.start),
            partial(on_trio, wiring.portal, wiring.restart),
            wiring.suspects,
        )
        self.watchdog = Watchdog()
        self._probe = LagProbe(self.watchdog, wiring.suspects)

    def run(self) -> None:
        """Receive until `stop`; blocks its thread. Raises what the SDK raises."""
        forget_delivery_tags()
        decode_whatever_comes()
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
        store = self._store = SdkStore(
            wiring.store, wiring.portal, self._listed, self.watchdog, wiring.store_threads
        )
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
        # Half of the bytes in flight are for what is between Event Hubs and trio. A look at one
        # event takes what each partition may always have.
        pool = CreditPool(self._wiring.inflight_max_bytes // 2 if store else 0)
        read_with(client, partial(self._read, pool))
        return client

    async def _read(self, pool: CreditPool, link: PartitionLink) -> None:
        batch_bytes = pool.batch_bytes(len(self._partitions))
        await Reader(link, pool, batch_bytes, self._on_opening).run()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The one context of all connections. Raises OSError.

        Each partition has a connection, and the SDK would read the authorities anew for each:
        15 ms of CPU and 0.7 MB (measured). They are certifi's, as with the SDK, and ours.
        """
        return ssl.create_default_context(cafile=bundle(self._hub.ca_file))

    async def _receive(self, client: EventHubConsumerClient) -> None:
        properties = await client.get_eventhub_properties()
        self._partitions = partitions = set(properties["partition_ids"])
        self._probe.partitions, self._probe.hub_created_at = partitions, properties["created_at"]
        self._starts.begin(partitions, properties["created_at"])
        self.watchdog.balancing.partitions = frozenset(partitions)
        log.info("receiving", hub=self._hub.name, partitions=len(partitions))
        await client.receive_batch(
            on_event_batch=self._on_events,
            on_error=self._on_error,
            on_partition_initialize=self._on_claimed,
            on_partition_close=self._on_closed,
            max_wait_time=EMPTY_CALLBACK_S,
            starting_position=self._starts.positions,
            starting_position_inclusive=self._starts.inclusive,
        )

    async def _listed(self, found: Mapping[str, Found], owned: set[str]) -> None:
        await self._starts.listed(self._client, found, self._partitions | owned, owned)

    async def _on_claimed(self, context: PartitionContext) -> None:
        partition = context.partition_id
        if (why := self._starts.stopped.get(partition)) is not None:
            await self._leave_unread(partition, why)
        start = self._starts.get(partition)
        if start is None:
            raise Retryable(f"partition {partition} has no start position yet")
        ledger = await on_trio(self._wiring.portal, self._wiring.claim, partition, start)
        if start.sequence_number > ledger.seen:
            # The SDK would read from behind what is delivered or in flight.
            raise Retryable(f"the checkpoint of partition {partition} went back meanwhile")
        asked = partition in self._starts.asked
        self._claims[partition] = claim = Claim(ledger, start, start, asked)
        _claim.set(claim)
        self._probe.received[partition] = ledger.written.sequence_number
        self.watchdog.claimed(partition)
        log.info(
            "partition claimed", partition=partition, sequence_number=ledger.written.sequence_number
        )

    async def _on_events(self, context: PartitionContext, events: Sequence[EventData]) -> None:
        partition = context.partition_id
        claim = _claim.get(None)
        if claim is None:
            # The SDK reads on where on_partition_initialize failed; its close gets us another try.
            raise Retryable(f"partition {partition} is not claimed")
        if claim.ledger.cut_off:
            # By another replica, perhaps one that is gone again: the SDK may not have noticed.
            raise Retryable(f"partition {partition} was claimed anew")
        if partition in self._wiring.suspects:
            # Closed, so that it is claimed again, and its stream looked into.
            raise Retryable(f"the stream of partition {partition} may be another one")
        if events:
            created_ms = self._starts.hub_created_ms
            hub_events = [to_hub_event(partition, event, created_ms) for event in events]
            try:
                await self._check_stream(claim, hub_events)
            except AnotherStream:
                self._wiring.suspects.add(partition)
                raise
            if hub_events[0].position.sequence_number == claim.start.sequence_number:
                del hub_events[0]  # it came to show the stream, and is done
            self.watchdog.blocked.add(partition)
            await self._wiring.handover.put((claim.ledger, hub_events))
            self._probe.received[partition] = claim.last.sequence_number
        # In this order: whoever looks in between sees a partition that waits or has called back.
        self.watchdog.called_back(partition, events=len(events))
        self.watchdog.blocked.discard(partition)

    async def _leave_unread(self, partition: str, why: str) -> None:
        """Keep a partition's ownership, read nothing, and close it after a while."""
        if self.watchdog.stopped.get(partition) != why:
            log.error("a partition is not read", partition=partition, reason=why)
        self.watchdog.stop(partition, why)
        await asyncio.sleep(RECHECK_S)
        # The SDK reads on where this callback raises anything else: only a cancelled task closes
        # the partition (`aio/_eventprocessor/event_processor.py`, ``_receive``).
        raise asyncio.CancelledError

    async def _check_stream(self, claim: Claim, events: Sequence[HubEvent]) -> None:
        """Raise AnotherStream where events cannot be of the stream that the claim began with."""
        gap = claim.follow(events)
        if gap is None:
            return
        partition = events[0].partition
        state = await self._starts.state(self._client, partition)
        if state.oldest <= gap + 1:
            raise AnotherStream(
                f"the stream of partition {partition}: what follows {gap} did not come, and the hub"
                f" has all from {state.oldest} on"
            )

    async def _on_closed(self, context: PartitionContext, reason: CloseReason) -> None:
        partition, claim = context.partition_id, _claim.get(None)
        if claim is None:
            return
        log.info("partition released", partition=partition, reason=reason.name.lower())
        # A claim that closes late leaves the marks of the one after it alone.
        if self._claims.get(partition) is claim:
            del self._claims[partition]
            self.watchdog.closed(partition)
            self._probe.forget(partition)
        await on_trio(self._wiring.portal, self._wiring.release, claim.ledger)

    def _on_opening(self, partition: str, error: Exception | None) -> None:
        reason = None if error is None else describe(error)
        if reason is not None and reason != self.watchdog.unopened.get(partition):
            log.warning("a partition cannot be opened", partition=partition, reason=reason)
        if error is not None and refused(str(error)):
            self._wiring.suspects.add(partition)
        self.watchdog.opened(partition, reason)

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        # The load balancer's errors come without a partition.
        partition = None if context is None else context.partition_id
        reason = describe(error)
        self.watchdog.failed(partition, reason)
        if partition is not None and refused(str(error)):
            self._wiring.suspects.add(partition)
        log.warning("receiving failed", partition=partition, reason=reason)
        claim = _claim.get(None)
        # An old claim of our own that is still closing is displaced by the new one.
        if partition is not None and displaced(error) and self._claims.get(partition) is claim:
            await self._look_for_another_program(partition)

    async def _look_for_another_program(self, partition: str) -> None:
        """Tell of a program that reads with the consumer group and does not know our store.

        Our own replicas take a partition in the store first, and only then its link.
        """
        try:
            if not await self._store.still_ours(partition):
                return
        except Retryable:
            return  # it cannot be told, and the store's fault is told elsewhere
        self._wiring.contested(partition)
        if self.watchdog.contested(partition):
            log.error(
                "another program reads the consumer group: give each its own CONSUMERGROUP",
                consumer_group=self._hub.consumer_group,
                partition=partition,
            )


async def _release(store: SdkStore) -> None:
    try:
        await store.release()
    except Retryable as fault:
        log.warning("not released: the ownership will expire", reason=fault.reason)
