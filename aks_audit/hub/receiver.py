"""One SDK client, alone on a thread of its own.

The asyncio client rather than the synchronous one, because the latter serves all partitions in
turn on one thread: at 32 partitions with sparse traffic an event waits 4 s on average for its
turn, here 35 ms (measured, azure-eventhub 5.15.1). And here a callback that waits holds up its
own partition only.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, partial

from azure.eventhub.aio import EventHubConsumerClient

from ..checkpoints.record import Found
from ..config.authorities import bundle
from ..config.settings import HubConfig
from ..errors import Retryable
from ..ops.logs import get_logger
from .balancing import BALANCE_S
from .callbacks import Callbacks
from .credit import CreditPool
from .handover import on_trio
from .inspection import Inspection
from .lag_probe import LagProbe
from .ownership import SdkStore
from .reader import EMPTY_CALLBACK_S, Reader
from .sdk.link import PartitionLink
from .sdk.patches import decode_whatever_comes, forget_delivery_tags, read_with
from .start_position import StartPositions
from .watchdog import Watchdog
from .wiring import Wiring

log = get_logger("receiver")

TICK_S = 1.0


class Receiver:
    """One client, from its start to its close. Used once; the source makes another."""

    def __init__(self, hub: HubConfig, wiring: Wiring) -> None:
        self._hub = hub
        self._wiring = wiring
        self._partitions: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._stopped = False
        self._inspection = Inspection(partial(self._make_client, None))
        self._starts = StartPositions(
            hub,
            self._inspection,
            partial(on_trio, wiring.portal, wiring.start),
            partial(on_trio, wiring.portal, wiring.restart),
            wiring.suspects,
        )
        self.watchdog = Watchdog()
        self._probe = LagProbe(self.watchdog, wiring.suspects)
        self._callbacks = Callbacks(
            hub,
            wiring,
            self._starts,
            self._inspection,
            self.watchdog,
            self._probe,
            self._still_ours,
        )

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
        await Reader(link, pool, batch_bytes, self._callbacks.on_opening).run()

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
        self._inspection.begin(client, properties["created_at"])
        self._starts.begin(partitions)
        self.watchdog.balancing.partitions = frozenset(partitions)
        log.info("receiving", hub=self._hub.name, partitions=len(partitions))
        await client.receive_batch(
            on_event_batch=self._callbacks.on_events,
            on_error=self._callbacks.on_error,
            on_partition_initialize=self._callbacks.on_claimed,
            on_partition_close=self._callbacks.on_closed,
            max_wait_time=EMPTY_CALLBACK_S,
            starting_position=self._starts.positions,
            starting_position_inclusive=self._starts.inclusive,
        )

    async def _listed(self, found: Mapping[str, Found], owned: set[str]) -> None:
        await self._starts.listed(found, self._partitions | owned, owned)

    async def _still_ours(self, partition: str) -> bool:
        return await self._store.still_ours(partition)


async def _release(store: SdkStore) -> None:
    try:
        await store.release()
    except Retryable as fault:
        log.warning("not released: the ownership will expire", reason=fault.reason)
