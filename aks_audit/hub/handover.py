"""The one thread bridge: the SDK's thread on one side, trio on the other.

azure-eventhub speaks asyncio, we speak trio, so the SDK has a thread of its
own. Two kinds of traffic cross over:

- hub events, by the thousand: `Handover`, a bounded queue that wakes the other
  side once for however much has gathered. (A task in the other loop per
  message, as a portal makes it, costs more than all the rest of our work.)
- the rare call (a store's operation, a claim): anyio's BlockingPortal.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import trio
from anyio.from_thread import BlockingPortal
from azure.eventhub import CheckpointStore
from azure.eventhub.aio import CheckpointStore as AsyncCheckpointStore

from ..checkpoints.ledger import PartitionLedger
from ..errors import Retryable
from ..model import HubEvent
from ..storage import call
from .watchdog import BALANCE_LAPSE_S, BALANCE_S

HANDOVER_MAX_BYTES = 1024 * 1024
"""Bytes that may wait between the threads: enough to keep trio busy for milliseconds. A
callback that finds more waiting holds its own batch until trio has taken them."""

TURN_S = 0.005
"""How long what waits may be taken on end before the senders and the probes have their turn: a
round of trio's loop costs as much as some five audit events."""

REST_MAX_S = 60.0
"""The longest a store that fails is left in peace by the load balancing."""

T = TypeVar("T")

Delivery = tuple[PartitionLedger, Sequence[HubEvent]]
"""Hub events of one partition, in order, with the ledger of the claim they came under."""


class Handover:
    """Hub events on their way from the SDK's thread to trio."""

    def __init__(self, max_bytes: int = HANDOVER_MAX_BYTES) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: list[Delivery] = []
        self._bytes = 0
        self._callbacks: list[asyncio.Future[None]] = []
        self._filled = trio.Event()
        self._asleep = False
        self._turn_ends = 0.0

    async def put(self, delivery: Delivery) -> None:
        """On the SDK's thread: hand over, waiting while too much has gathered."""
        loop = asyncio.get_running_loop()
        size = sum(len(event.body) for event in delivery[1])
        wake = False
        while True:
            with self._lock:
                if self._bytes < self._max_bytes:
                    self._waiting.append(delivery)
                    self._bytes += size
                    wake, self._asleep = self._asleep, False
                    break
                room = loop.create_future()
                self._callbacks.append(room)
            await room
        if wake:
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._filled.set()

    async def take(self) -> list[Delivery]:
        """On trio: take all the hub events there are; wait where there are none."""
        if trio.current_time() >= self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = trio.current_time() + TURN_S
        while True:
            self._filled = trio.Event()
            with self._lock:
                deliveries, self._waiting = self._waiting, []
                callbacks, self._callbacks = self._callbacks, []
                self._bytes = 0
                self._asleep = not deliveries
            for room in callbacks:
                _resolve(room)
            if deliveries:
                return deliveries
            await self._filled.wait()


def _resolve(room: asyncio.Future[None]) -> None:
    def resolve() -> None:
        if not room.done():
            room.set_result(None)

    loop = room.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(resolve)


async def on_trio(
    portal: BlockingPortal, function: Callable[..., Awaitable[T]], *args: object
) -> T:
    """On the SDK's thread: have trio run a function, and wait for what it returns."""
    return await asyncio.wrap_future(portal.start_task_soon(function, *args))


class Rounds(Protocol):
    """Who wants to know how the load balancing goes."""

    def round_began(self) -> None:
        """A round begins, whether or not it will claim anything."""

    def round_worked(self) -> None:
        """The store has answered."""

    def owns(self, partitions: set[str]) -> None:
        """These partitions are ours."""


class Rest:
    """Whether a store that fails is to be asked again.

    For as long as ownership outlives the outage each round asks, so as to renew
    it. After that there is nothing left to lose by waiting, and a store that
    is overloaded recovers sooner when all replicas do.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failing_since: float | None = None
        self._pause_s = BALANCE_S
        self._until = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise Retryable while the store is not to be asked."""
        if self._clock() < self._until:
            raise Retryable(self._reason)

    def failed(self, fault: Retryable) -> None:
        """Note that the store failed."""
        now = self._clock()
        self._reason = fault.reason
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since < BALANCE_LAPSE_S:
            return
        self._pause_s = min(2 * self._pause_s, REST_MAX_S)
        # Replicas whose store went away together are not to come back together.
        self._until = now + self._pause_s * random.uniform(0.7, 1.0)  # noqa: S311

    def worked(self) -> None:
        """Note that the store answered."""
        self._failing_since, self._pause_s = None, BALANCE_S


class BridgedStore(AsyncCheckpointStore):
    """A synchronous checkpoint store, as the SDK's asyncio client wants to see it.

    ``listed`` is called, on the SDK's thread, with the checkpoints that the SDK
    asked for and the partitions that we own, and returns what the SDK gets.
    ``rounds`` is told of each round of load balancing.
    """

    def __init__(
        self,
        store: CheckpointStore,
        portal: BlockingPortal,
        listed: Callable[[list[dict[str, Any]], set[str]], Awaitable[list[dict[str, Any]]]],
        rounds: Rounds,
    ) -> None:
        self._store = store
        self._portal = portal
        self._listed = listed
        self._rounds = rounds
        self._limiter = trio.CapacityLimiter(4)
        self._round = threading.Lock()
        self._claimed: dict[str, Any] | None = None
        self._rest = Rest()
        self._owned: set[str] = set()
        self._claiming = True

    async def _call(self, function: Callable[..., Iterable[dict[str, Any]]], *args: Any) -> Any:
        return list(await on_trio(self._portal, call, self._limiter, function, *args))

    async def _balance(self, function: Callable[..., Iterable[dict[str, Any]]], *args: Any) -> Any:
        try:
            return await self._call(function, *args)
        except Retryable as fault:
            self._rest.failed(fault)
            raise

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The ownership of all partitions. Raises Retryable; the SDK tries again."""
        # Each round of load balancing begins with this call.
        self._rounds.round_began()
        self._rest.check()
        if not self._claiming:  # the last round found nothing to claim nor to renew
            self._own(set())
        owned: list[dict[str, Any]] = await self._balance(
            self._store.list_ownership, fully_qualified_namespace, eventhub_name, consumer_group
        )
        self._rounds.round_worked()
        self._claiming = False
        return owned

    def _own(self, partitions: set[str]) -> None:
        self._owned = partitions
        self._rounds.owns(partitions)

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim or renew partitions; returns those that are ours now. Raises Retryable."""
        wanted = list(ownership_list)
        if not all(ownership["owner_id"] for ownership in wanted):
            # The release of one partition: no part of a round, and not to be put off.
            return await self._call(self._store.claim_ownership, wanted)  # type: ignore[no-any-return]
        self._claiming = True
        self._claimed = wanted[-1]
        claimed: list[dict[str, Any]] = await self._balance(self._claim, wanted)
        self._rest.worked()
        self._own({ownership["partition_id"] for ownership in claimed})
        return claimed

    def _claim(self, wanted: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        with self._round:
            return list(self._store.claim_ownership(wanted))

    async def release(self) -> None:
        """Release what the SDK has left ours when it closed. Raises Retryable.

        It releases what its last round of load balancing came back with. Of a round that
        was under way meanwhile it knows nothing, and the store takes no release under an
        ETag that this round has replaced.
        """
        if self._claimed is not None:
            await self._call(self._release, self._claimed)

    def _release(self, ours: dict[str, Any]) -> Iterable[dict[str, Any]]:
        hub = (ours["fully_qualified_namespace"], ours["eventhub_name"], ours["consumer_group"])
        with self._round:
            left = [
                {**ownership, "owner_id": ""}
                for ownership in self._store.list_ownership(*hub)
                if ownership["owner_id"] == ours["owner_id"]
            ]
            return list(self._store.claim_ownership(left))

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The checkpoints from which the SDK starts the partitions. Raises Retryable."""
        checkpoints = await self._call(
            self._store.list_checkpoints, fully_qualified_namespace, eventhub_name, consumer_group
        )
        return await self._listed(checkpoints, self._owned)

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> None:
        """Write a checkpoint. Raises Retryable.

        The SDK does so only when a callback asks it to, and ours do not:
        `Checkpointer` writes what the ledger says.
        """
        await on_trio(self._portal, call, self._limiter, self._store.update_checkpoint, checkpoint)
