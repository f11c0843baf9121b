"""The SDK's view of our checkpoint store, for its load balancing and its start positions.

The store is synchronous and belongs to trio; the SDK's client is asyncio's. Each call goes to a
worker thread of trio, so a store that hangs does not hold up the client's loop.
"""

import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import trio
from anyio.from_thread import BlockingPortal
from azure.eventhub.aio import CheckpointStore as AsyncCheckpointStore

from ..checkpoints.record import Found
from ..checkpoints.store import Store
from ..errors import Retryable
from ..storage import call
from .balancing import BALANCE_LAPSE_S, BALANCE_S
from .handover import on_trio
from .watchdog import Watchdog

_random = random.SystemRandom()

BACKOFF_MAX_S = 60.0
"""The longest a store that fails is not asked by the load balancing."""

CLAIMS_AT_ONCE = 16
"""So many partitions are claimed by one call to the store, which is given up as a whole."""
STORE_THREADS = 4
"""So many threads wait for the store on behalf of the load balancing, of all clients together."""

Listed = Callable[[Mapping[str, Found], set[str]], Awaitable[None]]
"""async (checkpoints of the store by partition, partitions that are ours) -> None"""


_StoreCall = Callable[..., Iterable[dict[str, Any]]]


class StoreBackoff:
    """Whether a store that fails is to be asked again.

    For as long as ownership outlives the outage each round asks, so as to renew it. After that
    there is nothing left to lose by waiting, and a store that is overloaded recovers sooner when
    all replicas wait.
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
        self._pause_s = min(2 * self._pause_s, BACKOFF_MAX_S)
        # Replicas whose store went away together are not to come back together.
        self._until = now + self._pause_s * _random.uniform(0.7, 1.0)

    def worked(self) -> None:
        """Note that the store answered."""
        self._failing_since, self._pause_s = None, BALANCE_S


class SdkStore(AsyncCheckpointStore):
    """A synchronous checkpoint store, as the SDK's asyncio client wants to see it.

    Args:
        store: The store; its calls block.
        portal: The way to trio, where the calls are made.
        listed: Is given the checkpoints, and the partitions that are ours, before the SDK begins
            to read partitions. Called on the SDK's thread.
        watchdog: Is told of each round of load balancing.
        limiter: For the threads of the calls; the same for all clients, because a thread that
            hangs outlives its client.
    """

    def __init__(
        self,
        store: Store,
        portal: BlockingPortal,
        listed: Listed,
        watchdog: Watchdog,
        limiter: trio.CapacityLimiter,
    ) -> None:
        self._store = store
        self._portal = portal
        self._listed = listed
        self._watchdog = watchdog
        self._balancing = watchdog.balancing
        self._limiter = limiter
        self._claims = threading.Lock()
        """Held while partitions are claimed or released, which happens on worker threads."""
        self._last_claim: dict[str, Any] | None = None
        self._backoff = StoreBackoff()
        self._owned: set[str] = set()
        self._claiming = True

    async def _call(self, function: _StoreCall, *args: Any) -> list[dict[str, Any]]:
        found: Iterable[dict[str, Any]] = await on_trio(
            self._portal, call, self._limiter, function, *args
        )
        return list(found)

    async def _balance(self, function: _StoreCall, *args: Any) -> list[dict[str, Any]]:
        try:
            return await self._call(function, *args)
        except Retryable as fault:
            self._backoff.failed(fault)
            raise

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The ownership of all partitions. Raises Retryable; the SDK tries again."""
        # Each round of load balancing begins with this call.
        self._balancing.step()
        self._backoff.check()
        if not self._claiming:  # the last round worked, and found nothing to claim nor to renew
            self._own(set())
            self._balancing.stood_by()
            self._backoff.worked()
            self._claiming = True
        owned = await self._balance(
            self._store.list_ownership, fully_qualified_namespace, eventhub_name, consumer_group
        )
        ours = None if self._last_claim is None else self._last_claim["owner_id"]
        self._balancing.listed(owned, ours)
        self._claiming = False
        return owned

    def _own(self, partitions: set[str]) -> None:
        self._owned = partitions
        self._watchdog.owns(partitions)

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim or renew partitions; returns those that are ours now. Raises Retryable."""
        wanted = list(ownership_list)
        if not all(ownership["owner_id"] for ownership in wanted):
            # The release of one partition: not part of a round, and not to be put off.
            released = await self._call(self._store.claim_ownership, wanted)
            for ownership in released:
                self._balancing.released(ownership["partition_id"])
            return released
        self._claiming = True
        self._last_claim = wanted[-1]
        claimed: list[dict[str, Any]] = []
        for start in range(0, len(wanted), CLAIMS_AT_ONCE):
            self._balancing.step()
            some = wanted[start : start + CLAIMS_AT_ONCE]
            claimed += await self._balance(self._claim, some)
        self._backoff.worked()
        ours = {ownership["partition_id"] for ownership in claimed}
        self._own(ours)
        self._balancing.claimed({ownership["partition_id"] for ownership in wanted}, ours)
        return claimed

    def _claim(self, wanted: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        with self._claims:
            return list(self._store.claim_ownership(wanted))

    async def still_ours(self, partition: str) -> bool:
        """Whether the store says that a partition belongs to this client. Raises Retryable."""
        ours = self._last_claim
        if ours is None:
            return False
        hub = (ours["fully_qualified_namespace"], ours["eventhub_name"], ours["consumer_group"])
        owned = await self._call(self._store.list_ownership, *hub)
        owner = {each["partition_id"]: each["owner_id"] for each in owned}
        return bool(owner.get(partition) == ours["owner_id"])

    async def release(self) -> None:
        """Release what the SDK has left ours when it closed. Raises Retryable.

        It releases what its last round of load balancing came back with. It knows nothing of a
        round that was under way meanwhile, and the store takes no release under an ETag that
        this round has replaced.
        """
        if self._last_claim is not None:
            await self._call(self._release, self._last_claim)

    def _release(self, ours: dict[str, Any]) -> Iterable[dict[str, Any]]:
        hub = (ours["fully_qualified_namespace"], ours["eventhub_name"], ours["consumer_group"])
        with self._claims:
            left = [
                {**ownership, "owner_id": ""}
                for ownership in self._store.list_ownership(*hub)
                if ownership["owner_id"] == ours["owner_id"]
            ]
            return list(self._store.claim_ownership(left))

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Have the partitions' start positions looked up. Raises Retryable.

        The SDK is given none here, where it takes offsets only: it finds them where it looks
        next (`StartPositions.positions`).
        """
        self._balancing.step()
        scope = (fully_qualified_namespace, eventhub_name, consumer_group)
        found = await on_trio(self._portal, call, self._limiter, self._store.found, scope)
        await self._listed(found, self._owned)
        return []

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> None:
        """Refuse: a checkpoint is written by `Checkpointer`, fenced, as the ledger says.

        The SDK calls this only when a callback asks it to, and ours do not.
        """
        raise NotImplementedError("checkpoints are written by the Checkpointer")
