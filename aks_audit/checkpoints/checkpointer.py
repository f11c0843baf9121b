"""The checkpoint writer: what the ledger says is done, into the store.

A checkpoint is written at intervals, when a partition is released, and at the end. While the store
is away forwarding goes on, and the checkpoints are written later. A crash meanwhile costs
duplicates, never events.
"""

import time
import uuid
from collections import Counter, deque

import trio

from ..config.settings import HubConfig
from ..errors import Retryable
from ..model import Position
from ..ops.health import Heartbeat
from ..ops.logs import get_logger
from ..ops.metrics import CheckpointMetrics
from ..storage import CALL_S, call
from .ledger import Ledger, PartitionLedger
from .record import Unusable
from .store import Fenced, FencedWrites, Key

log = get_logger("checkpoint")

WRITERS = 4
"""So many checkpoints are written at a time."""

STALLED_S = 2 * CALL_S
"""How long one write may take before the writer counts as stalled: never because of the store, to
which calls are given up before that."""

FLUSH_S = 60.0
"""How long one round of writing may take; what it does not come to is the first of the next."""

LOOK_S = 30.0
"""Between two looks whether the store still has the checkpoints of what is read: one call each. A
partition may be quiet for days, and without a checkpoint it would begin at STARTPOSITION."""

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
        self._limiter = trio.CapacityLimiter(WRITERS)
        self._writers: dict[str, str] = {}
        self._reading: Counter[str] = Counter()
        """Claims that have begun and not ended, by partition."""
        self._hanging: set[str] = set()
        """Partitions whose checkpoint is being written; the threads add and remove them."""
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
        look_at = trio.current_time() + LOOK_S
        while True:
            self.heartbeat.expect(within_s=interval_s + STALLED_S)
            await trio.sleep(interval_s)
            with trio.move_on_after(FLUSH_S):
                # The others hang since an earlier round, and would hang once more.
                await self._write(set(self._hanging))
            if trio.current_time() >= look_at:
                look_at = trio.current_time() + LOOK_S
                self.heartbeat.expect(within_s=FLUSH_S + STALLED_S)
                with trio.move_on_after(FLUSH_S):
                    await self.restore()

    async def create(self, partition: str, position: Position) -> Position:
        """Write the checkpoint of a partition that has none.

        Where the partition is read here, it has vanished, and the ledger knows better than
        ``position`` what is done.

        Returns:
            The checkpoint there is now.

        Raises:
            Retryable: The store fails, or its checkpoint cannot be used (`Unusable`).
        """
        known = self._ledger.get(partition)
        writer = ""
        if known is not None:
            position, writer = known.done, self._writers[partition]
        standing = await call(
            self._limiter, self._store.create, self._key(partition), position, writer
        )
        self._metrics.writes.labels("written").inc()
        return standing

    async def claim(self, partition: str, known: Position) -> PartitionLedger:
        """Make a partition's checkpoint ours; its ledger starts there.

        Args:
            partition: Its id.
            known: What the hub says of the position that the checkpoint names. A checkpoint that
                lacks some of that is written again, whole.

        Raises:
            Retryable: The store fails, or its checkpoint cannot be used (`Unusable`).
        """
        position, writer = await self._fence(partition)
        if known.sequence_number == position.sequence_number and known != position:
            position = known
            key = self._key(partition)
            await call(self._limiter, self._store.replace, key, writer, position)
        ledger = self._ledger.claim(partition, position)
        self._reading[partition] += 1
        if not ledger.dirty:  # it was written, and only the answer was lost
            self.unwritten_since.pop(partition, None)
        return ledger

    async def restart(self, partition: str, stored: Position, position: Position | None) -> None:
        """Begin a partition anew: its stream is not the one that the checkpoint was made for.

        What is in flight of the old stream settles, but moves no checkpoint.

        Args:
            partition: Its id.
            stored: The checkpoint that was found to be of another stream.
            position: Where to begin; None leaves the checkpoint as it is.

        Raises:
            Retryable: The store fails, or another instance has moved the checkpoint meanwhile.
        """
        writer = ""
        if position is not None:
            standing, writer = await self._fence(partition)
            if standing.sequence_number != stored.sequence_number:
                raise Retryable(f"the checkpoint of partition {partition} has moved meanwhile")
        old = self._ledger.get(partition)
        if old is not None:
            self._ledger.forget(partition, old)
        if position is None:
            return
        await call(self._limiter, self._store.replace, self._key(partition), writer, position)
        self._count("written", partition)
        self._metrics.stream_resets.labels(partition).inc()

    async def _fence(self, partition: str) -> tuple[Position, str]:
        writer = uuid.uuid4().hex
        position = await call(self._limiter, self._store.fence, self._key(partition), writer)
        self._writers[partition] = writer
        self.written_at[partition] = time.time()
        return position, writer

    async def restore(self) -> None:
        """Write the checkpoints again that have vanished from the store, or were damaged.

        Raises nothing: while the store fails, the next look does it.
        """
        claims = [
            (ledger, self._writers[ledger.partition])
            for ledger in self._ledger.partitions()
            if self._reading[ledger.partition]
        ]
        try:
            found = await call(self._limiter, self._store.found, self._key("")[:3])
        except Retryable as fault:
            log.warning("the checkpoints cannot be looked at", reason=fault.reason)
            return
        for ledger, writer in claims:
            standing = found.get(ledger.partition)
            current = self._writers[ledger.partition] == writer and not ledger.cut_off
            if current and not isinstance(standing, Position):
                await self._write_again(ledger, writer, standing)

    async def _write_again(
        self, ledger: PartitionLedger, writer: str, damage: Unusable | None
    ) -> None:
        partition, key = ledger.partition, self._key(ledger.partition)
        log.warning(
            "a checkpoint has vanished or was damaged, writing it again",
            partition=partition,
            reason=None if damage is None else damage.reason,
        )
        try:
            if damage is None:
                await call(self._limiter, self._store.create, key, ledger.done, writer)
            else:
                await call(self._limiter, self._store.replace, key, writer, ledger.done)
        except Fenced:
            return  # another claim has begun meanwhile
        except Retryable as fault:
            log.warning("it cannot be written again", partition=partition, reason=fault.reason)

    async def release(self, ledger: PartitionLedger) -> None:
        """Write the last checkpoint of a claim that ends."""
        self._reading[ledger.partition] -= 1
        if self._ledger.get(ledger.partition) is ledger:
            await self.flush_partition(ledger)

    async def flush(self) -> None:
        """Write all that is new; what the store does not take stays to be written."""
        await self._write(set())

    async def _write(self, without: set[str]) -> None:
        """Write all that is new, the longest unwritten first, without some partitions."""
        now = time.time()
        dirty = self._ledger.dirty()
        for ledger in dirty:
            self.unwritten_since.setdefault(ledger.partition, now)
        dirty.sort(key=lambda ledger: self.unwritten_since[ledger.partition])
        waiting = deque(ledger for ledger in dirty if ledger.partition not in without)

        async def write() -> None:
            while waiting:
                self.heartbeat.expect(within_s=STALLED_S)
                await self.flush_partition(waiting.popleft())

        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(write)

    async def flush_partition(self, ledger: PartitionLedger) -> None:
        """Write one partition's checkpoint, if there is anything new to say."""
        if not ledger.dirty:
            return
        partition, position = ledger.partition, ledger.done
        since = self.unwritten_since.setdefault(partition, time.time())
        key, writer = self._key(partition), self._writers[partition]
        try:
            await call(self._limiter, self._advance, key, writer, position)
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

    def _advance(self, key: Key, writer: str, position: Position) -> None:
        """On a worker thread: move a checkpoint on, and note for how long that takes."""
        self._hanging.add(key[3])
        try:
            self._store.advance(key, writer, position)
        finally:
            self._hanging.discard(key[3])

    def _count(self, result: str, partition: str) -> None:
        self._metrics.writes.labels(result).inc()
        self.unwritten_since.pop(partition, None)

    def _key(self, partition: str) -> Key:
        return self._hub.namespace, self._hub.name, self._hub.consumer_group, partition
