"""What a receiver is given by the source."""

from collections.abc import Awaitable, Callable

import msgspec
import trio
from anyio.from_thread import BlockingPortal

from ..checkpoints.ledger import PartitionLedger
from ..checkpoints.store import Store
from ..model import Position
from .handover import Handover
from .start_position import CreateCheckpoint, Restart


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
