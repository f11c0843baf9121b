"""The checkpoint writer: what the ledger says is done, into the store.

A checkpoint is written at intervals, when a partition is released, and at the end. While the store
is away forwarding goes on, and the checkpoints are written later. A crash meanwhile costs
duplicates, never events.
"""

import time
import uuid

import trio

from ..config.settings import HubConfig
from ..errors import Retryable
from ..model import Position
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import CheckpointMetrics
from ..storage import call
from .ledger import Ledger, PartitionLedger
from .store import Fenced, FencedWrites, Key

log = get_logger("checkpoint")

WRITE_S = 60.0
"""How long writing all partitions' checkpoints may take before the writer counts as stalled."""

UNREADY_S = 60.0
"""How long checkpoints may stay unwritten before the readiness probe says so; events are
forwarded all the same."""


class Checkpointer:
    """Claims the checkpoints of partitions, and writes them.

    Args:
        store: Its calls block, and are made on worker threads, four at a time.
        hub: Names the checkpoints.
        ledger: What is done.
        metrics: Counts the writes.
    """

    def __init__(
        self, store: FencedWrites, hub: HubConfig, ledger: Ledger, metrics: CheckpointMetrics
    ) -> None:
        self._store = store
        self._hub = hub
        self._ledger = ledger
        self._metrics = metrics
        self._limiter = trio.CapacityLimiter(4)
        self._writers: dict[str, str] = {}
        self.heartbeat = Heartbeat(trio.current_time)
        self.written_at: dict[str, float] = {}
        """By partition, when its checkpoint was last written: Unix time in seconds."""
        self._wrong = ""
        self.unwritten_since: dict[str, float] = {}
        """By partition, since when there is progress that the store does not have."""

    def ready(self) -> str | None:
        """The readiness check: after a crash, what is not written would come again."""
        oldest = min(self.unwritten_since.values(), default=None)
        if oldest is None or time.time() - oldest < UNREADY_S:
            return None
        return f"checkpoints cannot be written for {UNREADY_S:g} s and more: {self._wrong}"

    async def run(self, interval_s: float) -> None:
        """Write what is new, every so often, for ever."""
        while True:
            self.heartbeat.expect(within_s=interval_s + WRITE_S)
            await trio.sleep(interval_s)
            await self.flush()

    async def create(self, partition: str, position: Position) -> Position:
        """Write a partition's first checkpoint; returns the one there is now. Raises Retryable."""
        standing = await call(self._limiter, self._store.create, self._key(partition), position)
        self._metrics.writes.labels("written").inc()
        return standing

    async def claim(self, partition: str) -> PartitionLedger:
        """Make a partition's checkpoint ours; its ledger starts there. Raises Retryable."""
        writer = uuid.uuid4().hex
        position = await call(self._limiter, self._store.fence, self._key(partition), writer)
        self._writers[partition] = writer
        self.written_at[partition] = time.time()
        ledger = self._ledger.claim(partition, position)
        if not ledger.dirty:  # it was written, and only the answer was lost
            self.unwritten_since.pop(partition, None)
        return ledger

    async def release(self, ledger: PartitionLedger) -> None:
        """Write the last checkpoint of a claim that ends."""
        if self._ledger.get(ledger.partition) is ledger:
            await self.flush_partition(ledger)

    async def flush(self) -> None:
        """Write all that is new; what the store does not take stays to be written."""
        async with trio.open_nursery() as nursery:
            for ledger in self._ledger.dirty():
                nursery.start_soon(self.flush_partition, ledger)

    async def flush_partition(self, ledger: PartitionLedger) -> None:
        """Write one partition's checkpoint, if there is anything new to say."""
        if not ledger.dirty:
            return
        partition, position = ledger.partition, ledger.done
        since = self.unwritten_since.setdefault(partition, time.time())
        key, writer = self._key(partition), self._writers[partition]
        try:
            await call(self._limiter, self._store.advance, key, writer, position)
        except Fenced:
            log.info(
                "another instance owns the partition, its checkpoint stays", partition=partition
            )
            self._count("fenced", partition)
            self._ledger.forget(partition, ledger)
        except Retryable as fault:
            self._metrics.writes.labels("failed").inc()
            self._wrong = fault.reason
            log.warning(
                "checkpoint not written, trying again later",
                partition=partition,
                sequence_number=position.sequence_number,
                unwritten_s=round(time.time() - since, 1),
                reason=fault.reason,
            )
        else:
            ledger.wrote(position)
            self.written_at[partition] = time.time()
            self._count("written", partition)

    def _count(self, result: str, partition: str) -> None:
        self._metrics.writes.labels(result).inc()
        self.unwritten_since.pop(partition, None)

    def _key(self, partition: str) -> Key:
        return self._hub.namespace, self._hub.name, self._hub.consumer_group, partition
