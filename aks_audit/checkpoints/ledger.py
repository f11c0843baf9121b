"""Which hub events are done: the pure core of at-least-once.

A hub event is done when all its records are delivered, dead-lettered or
deliberately skipped. Records settle in any order, but a checkpoint may only
ever name the end of the *contiguous* done prefix of its partition: everything
at or before it is done, so a restart from there loses nothing.

No clock, no I/O, no locks: all methods are called on trio's thread. The SDK's thread reads three
attributes of a `PartitionLedger` (`seen`, `written`, `cut_off`) when it begins or goes on to read a
partition. Each is one reference that is replaced whole, and a value that is a moment old costs at
most a hub event that the intake knows already.
"""

from collections import deque
from collections.abc import Callable

from ..model import HubEvent, Position

COMPACT_MIN = 1024
"""Entries of a partition below which there is nothing to gain by merging them."""


class Entry:
    """The ticket of one hub event: how many of its records are still open."""

    __slots__ = ("_owner", "followers", "open", "position")

    def __init__(self, owner: "PartitionLedger", position: Position, records: int) -> None:
        self._owner = owner
        self.position = position
        self.open = records
        self.followers: list[tuple[Entry, Callable[[], None]]] | None = None
        """The entries that follow this one, and whom to tell; hardly any entry has some."""

    @property
    def partition(self) -> str:
        """The partition's id."""
        return self._owner.partition

    def settle(self, count: int = 1) -> None:
        """Note that so many more records of the hub event are done."""
        if self.open < count:
            raise ValueError(f"{count} of the {self.open} open records of {self.position} settled")
        self.open -= count
        done = [] if self.open else [self]
        while done:
            done += done.pop().close()

    def close(self) -> list["Entry"]:
        """Move the done prefix of the partition on; returns the followers that are done as well."""
        self._owner.advance()
        followers, self.followers = self.followers or (), None
        done = []
        for follower, tell in followers:
            tell()
            follower.open -= 1
            if follower.open == 0:
                done.append(follower)
        return done

    def follow(self, other: "Entry", tell: Callable[[], None]) -> None:
        """Have one of this hub event's records settle when another hub event is done.

        Args:
            other: It must be open still, and have been opened before this one.
            tell: Is called when the record settles.
        """
        if other.followers is None:
            other.followers = []
        other.followers.append((self, tell))


class PartitionLedger:
    """One claim of one partition, from the position at which it was claimed."""

    __slots__ = (
        "_compact_at",
        "_entries",
        "cut_off",
        "done",
        "partition",
        "seen",
        "written",
    )

    def __init__(self, partition: str, claimed_at: Position) -> None:
        self.partition = partition
        self.done = claimed_at
        """The end of the contiguous done prefix: what a checkpoint may name."""
        self.seen = claimed_at.sequence_number
        """The highest sequence number that was ever opened."""
        self.written = claimed_at
        """The last position that the checkpoint store confirmed."""
        self.cut_off = False
        """Whether the partition was claimed anew since, by us or by another: what is in flight
        settles, but moves no checkpoint, and what is not yet opened comes to the new claim."""
        self._entries: deque[Entry] = deque()
        self._compact_at = COMPACT_MIN

    @property
    def dirty(self) -> bool:
        """Whether there is a position to write."""
        return self.done.sequence_number > self.written.sequence_number

    def open(self, event: HubEvent, records: int) -> Entry | None:
        """Note a hub event of which ``records`` (≥ 0) have to be settled.

        Returns None for one that was opened before: after a reconnect the SDK
        delivers again what it had buffered, and the first delivery is in
        flight or done here, so nothing is lost by passing over the second.
        """
        if event.position.sequence_number <= self.seen:
            return None
        self.seen = event.position.sequence_number
        entry = Entry(self, event.position, records)
        self._entries.append(entry)
        if len(self._entries) >= self._compact_at:
            self._compact()
        if records == 0:
            self.advance()
        return entry

    def wrote(self, position: Position) -> None:
        """Note that the checkpoint store holds this position."""
        if position.sequence_number > self.written.sequence_number:
            self.written = position

    def advance(self) -> None:
        """Move the done prefix over the entries that have no open record left."""
        entries = self._entries
        while entries and entries[0].open == 0:
            self.done = entries.popleft().position

    def _compact(self) -> None:
        """Merge neighbours that are done: a single event may be held for days before them.

        What is left is bounded by the events that are open: twice as many and one. Done each
        time the entries have doubled, this costs as much as a second append of each.
        """
        kept: deque[Entry] = deque()
        for entry in self._entries:
            if kept and kept[-1].open == 0 == entry.open:
                kept.pop()
            kept.append(entry)
        self._entries = kept
        self._compact_at = max(COMPACT_MIN, 2 * len(kept))


class Ledger:
    """The partitions that are claimed now, by id."""

    def __init__(self) -> None:
        self._partitions: dict[str, PartitionLedger] = {}

    def claim(self, partition: str, position: Position) -> PartitionLedger:
        """Start, or go on with, the ledger of a partition claimed at a position.

        Going on is right when the store still holds what we wrote last: nobody
        else worked on the partition since, so what is in flight here settles
        here, and is not to be forwarded a second time. Otherwise the old
        ledger is cut off: its records may settle, but move no checkpoint.
        """
        known = self._partitions.get(partition)
        if known is not None and known.written == position:
            return known
        if known is not None:
            known.cut_off = True
        fresh = self._partitions[partition] = PartitionLedger(partition, position)
        return fresh

    def get(self, partition: str) -> PartitionLedger | None:
        """The ledger of a partition, or None where it was never claimed."""
        return self._partitions.get(partition)

    def forget(self, partition: str, ledger: PartitionLedger) -> None:
        """Cut off the ledger of a claim after which somebody else claimed the partition."""
        ledger.cut_off = True
        if self._partitions.get(partition) is ledger:
            del self._partitions[partition]

    def dirty(self) -> list[PartitionLedger]:
        """The ledgers with something to write."""
        return [ledger for ledger in self._partitions.values() if ledger.dirty]

    def partitions(self) -> list[PartitionLedger]:
        """All the ledgers, in order of their claims."""
        return list(self._partitions.values())
