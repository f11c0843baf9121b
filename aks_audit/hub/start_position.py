"""Where partitions begin: at their checkpoint, and where there is none, at STARTPOSITION.

STARTPOSITION is resolved to a sequence number once, when the partition is claimed for the first
time, and written as its checkpoint at once. If "latest" were found out anew at each start, a
partition that happened to be quiet until a crash would lose what arrives before the restart.

A checkpoint counts only for the stream that it was made for (`stream`). Where that is not sure, the
hub is asked when the partition is claimed, and STREAMRESET says where another stream is begun.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime

from azure.eventhub.exceptions import EventHubError

from ..checkpoints.record import Found, Unusable
from ..checkpoints.store import Fenced
from ..config.settings import HubConfig, StartAt, StreamReset
from ..errors import Retryable, describe
from ..model import Position
from ..ops.logs import get_logger
from .inspection import Inspection
from .stream import State, difference

log = get_logger("receiver")

CreateCheckpoint = Callable[[str, Position], Awaitable[Position]]
"""async (partition, position) -> position: write a first checkpoint; returns the one that stands"""
Restart = Callable[[str, Position, Position | None], Awaitable[None]]
"""async (partition, checkpoint, position) -> None: have a partition begin anew at a position; None
forgets what is done of it, and leaves its checkpoint"""
LISTING_S = 25.0
"""How long partitions are looked into at a time, within a round of load balancing. The others are
not read before the next time; what was looked into is noted in the checkpoint."""


class StartPositions:
    """Where each partition begins.

    Args:
        hub: With STARTPOSITION and STREAMRESET.
        inspection: Asks the hub.
        create: Writes a first checkpoint.
        restart: Writes the checkpoint of a partition whose stream is another one.
        suspects: Partitions whose stream may be another one by now. Those that were looked into
            are taken out.
    """

    def __init__(
        self,
        hub: HubConfig,
        inspection: Inspection,
        create: CreateCheckpoint,
        restart: Restart,
        suspects: set[str],
    ) -> None:
        self._hub = hub
        self._inspection = inspection
        self._create = create
        self._restart = restart
        self._suspects = suspects
        self._known: dict[str, Position] = {}
        self.stopped: dict[str, str] = {}
        """Why a partition of ours is not to be read."""
        self.asked: set[str] = set()
        """Partitions whose stream the hub was asked about when they were listed last."""
        self.positions: dict[str, int | str] = {}
        """For the SDK, which looks into it for each partition that it begins to read: the sequence
        number of the checkpoint. That is what a checkpoint has that was damaged otherwise, and it
        is counted up by one. Offsets are opaque."""
        self.inclusive: dict[str, bool] = {}
        """For the SDK: whether the event at the position is to come once more. It does, and shows
        whether the stream is still the same."""

    def begin(self, partitions: set[str]) -> None:
        """Note which partitions the hub has."""
        # The SDK looks into these whenever it begins to read, and takes an empty one for False.
        self.inclusive.update(dict.fromkeys(partitions, False))

    def get(self, partition: str) -> Position | None:
        """The position behind which a partition is read, as it was listed last."""
        return self._known.get(partition)

    async def listed(
        self, found: Mapping[str, Found], partitions: set[str], ours: set[str]
    ) -> None:
        """See to it that each partition has a checkpoint, and those of ours one of this stream.

        Args:
            found: The checkpoints, as the store has them.
            partitions: All of the hub.
            ours: Those that we own now.

        Raises:
            Retryable: The store, or the hub, does not answer.
            EventHubError: As the SDK raises it.
        """
        self.stopped, self.asked = {}, set()
        for partition, checkpoint in found.items():
            if isinstance(checkpoint, Unusable):
                self.stopped[partition] = checkpoint.reason
            else:
                self._known[partition] = checkpoint
        await self._write_first_checkpoints(partitions - found.keys(), found.keys())
        doubtful = [each for each in ours & self._known.keys() if self._doubtful(each)]
        if doubtful and await self._inspection.is_another_hub():
            raise Retryable("the hub was created anew")  # the lag probe ends this client
        until = asyncio.get_running_loop().time() + LISTING_S
        await asyncio.gather(*(self._look_into(each, until) for each in doubtful))
        for partition, position in self._known.items():
            begun = position.sequence_number >= 0
            self.positions[partition] = position.sequence_number if begun else position.offset
            self.inclusive[partition] = begun

    def _doubtful(self, partition: str) -> bool:
        if partition in self.stopped:
            return False
        known = self._known[partition]
        return (
            partition in self._suspects or known.hub_created_ms != self._inspection.hub_created_ms
        )

    async def _look_into(self, partition: str, until: float) -> None:
        """Ask the hub whether a partition's stream is that of its checkpoint.

        A fault of one partition stops this one only: it is looked into again at the next claim.
        """
        stored = self._known[partition]
        try:
            async with self._inspection.at_once:
                if asyncio.get_running_loop().time() > until:
                    self.stopped[partition] = "its stream is looked into soon"
                    return
                state = await self._inspection.state(partition)
                event = await self._inspection.event_at(stored, state, partition)
            why = difference(stored, state, event)
            if why is not None:
                await self._begin_anew(partition, stored, state, why)
        except (Retryable, EventHubError, Fenced) as error:
            self.stopped[partition] = f"its stream cannot be looked into: {describe(error)}"
            return
        if partition in self.stopped:
            return
        self._suspects.discard(partition)
        self.asked.add(partition)
        if why is None:
            # What an earlier version, or another SDK, did not note is noted at the claim.
            known = event or stored
            self._known[partition] = Position(
                stored.sequence_number,
                known.offset or stored.offset,
                known.enqueued_ms,
                state.hub_created_ms,
            )

    async def _begin_anew(self, partition: str, stored: Position, state: State, why: str) -> None:
        reset = self._hub.stream_reset
        if reset is StreamReset.STOP:
            await self._restart(partition, stored, None)
            del self._known[partition]  # so that a checkpoint that is deleted stays so
            self.stopped[partition] = (
                f"its stream is not the one of the checkpoint at {stored.sequence_number}: {why};"
                " set STREAMRESET to earliest or latest, or delete the checkpoint"
            )
            return
        position = state.before_oldest if reset is StreamReset.EARLIEST else state.last
        log.error(
            "the stream was replaced: what the old one had behind the checkpoint is lost",
            partition=partition,
            reason=why,
            checkpoint=stored.sequence_number,
            offset=stored.offset,
            oldest=state.oldest,
            last=state.last.sequence_number,
            goes_on_behind=position.sequence_number,
        )
        await self._restart(partition, stored, position)
        self._known[partition] = position

    async def _write_first_checkpoints(self, missing: set[str], there: Collection[str]) -> None:
        """Settle where partitions begin that have no checkpoint, whoever will own them.

        The last partition is written first. So a partition without a checkpoint, of a group
        that has one for a lower partition, is new, or was never read by whoever wrote the
        others: nothing of it may be passed over. And where one that we know has none any more, the
        store was wiped: all go on where they were known to be, or begin at the oldest event.
        """
        wiped = bool(missing & self._known.keys())
        partitions = sorted(missing, key=_number, reverse=True)
        looks = [
            asyncio.create_task(self._first(partition, there, wiped=wiped))
            for partition in partitions
        ]
        try:
            for partition, look in zip(partitions, looks, strict=True):
                await self._write_first(partition, await look)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    async def _write_first(self, partition: str, position: Position) -> None:
        try:
            # Another replica may have been quicker: what it wrote stands, for us as well.
            self._known[partition] = await self._create(partition, position)
        except Unusable as fault:
            self.stopped[partition] = fault.reason

    async def _first(self, partition: str, there: Iterable[str], *, wiped: bool) -> Position:
        if partition in self._known:
            return self._known[partition]
        late = wiped or any(_number(each) < _number(partition) for each in there)
        async with self._inspection.at_once:
            return await self._resolve(partition, from_oldest=late)

    async def _resolve(self, partition: str, *, from_oldest: bool) -> Position:
        """The position *behind* which a partition is to be read. Raises what the SDK raises.

        With ``from_oldest``, that is before all there is, whatever STARTPOSITION says.
        """
        state = await self._inspection.state(partition)
        last = state.last
        if state.oldest > last.sequence_number:
            # Nothing to read, but sequence numbers go on where retention took the events away.
            return last
        start = StartAt.EARLIEST if from_oldest else self._hub.start_position
        if start is StartAt.LATEST:
            return last
        if isinstance(start, datetime):
            if (last.enqueued_ms or 0) < start.timestamp() * 1000:
                return last
            first = await self._inspection.first(partition, start)
            before = first.sequence_number - 1
            if before >= state.oldest:
                return await self._inspection.first(partition, before)
        return state.before_oldest


def _number(partition: str) -> tuple[int, str]:
    """The order in which partitions were added: they are numbered."""
    return (int(partition) if partition.isdecimal() else 0, partition)
