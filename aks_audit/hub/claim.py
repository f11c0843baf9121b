"""A partition that is read: under which ledger, from where, up to where."""

from collections.abc import Sequence

import msgspec

from ..checkpoints.ledger import PartitionLedger
from ..errors import Retryable
from ..model import HubEvent, Position
from .stream import suspicion


class AnotherStream(Retryable):
    """What comes cannot be of the stream that the claim began with, or so it seems."""


class Claim(msgspec.Struct, eq=False):
    """One claim of a partition by one client; its ledger may be that of the claim before."""

    ledger: PartitionLedger
    start: Position
    """Where the claim began to read."""
    last: Position
    """The event that was received last, or ``start``."""
    asked: bool
    """Whether the hub was asked about the stream when the partition was claimed."""

    def follow(self, events: Sequence[HubEvent]) -> int | None:
        """Note what has come.

        Returns:
            The sequence number before the first gap, which retention may have made or another
            stream; None where there is no gap, or the stream is known to be the right one.

        Raises:
            AnotherStream: An event contradicts what came before.
        """
        gap: int | None = None
        for event in events:
            position, last = event.position, self.last
            if position.sequence_number != last.sequence_number + 1:
                why = suspicion(self.start, last, position)
                if why is not None:
                    raise AnotherStream(f"the stream of partition {event.partition}: {why}")
                if position.sequence_number > last.sequence_number and gap is None:
                    gap = last.sequence_number
            if position.sequence_number > last.sequence_number:
                self.last = position
        return None if self.asked else gap
