"""What the commands on dead letters share: which letters are meant, and what was found."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import click

from ..deadletters.letter import DeadLetter, decode
from ..deadletters.store import Store
from ..ops.escapes import printable


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters a command is about."""

    since: datetime | None = None
    """Dead at this moment or later."""
    until: datetime | None = None
    """Dead before this moment."""
    reasons: frozenset[str] = frozenset()
    """One of these reasons; any where empty."""

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether a dead letter is meant."""
        return (
            (self.since is None or letter.dead_at >= self.since)
            and (self.until is None or letter.dead_at < self.until)
            and (not self.reasons or letter.reason in self.reasons)
        )


@dataclass(slots=True)
class Tally:
    """What a command found, in dead letters."""

    found: int = 0
    segments: int = 0
    """How many there were at the start; one that comes later is the next run's."""
    segments_read: int = 0
    damaged_segments: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Count dead letters as found."""
        for letter in letters:
            self.found += 1
            self.reasons[letter.reason] += 1
            self.oldest = min(self.oldest or letter.dead_at, letter.dead_at)
            self.newest = max(self.newest or letter.dead_at, letter.dead_at)

    def show_damaged(self) -> None:
        """Name the segments that cannot be read, on standard error."""
        for name in self.damaged_segments:
            click.echo(f"damaged, left alone: {printable(name)}", err=True)


def read_segments(store: Store, tally: Tally) -> Iterator[tuple[str, list[DeadLetter]]]:
    """All segments with their dead letters; damaged ones are noted, and left alone.

    Blocks; raises what the store raises.
    """
    names = list(store.names())
    tally.segments = len(names)
    for name in names:
        data = store.read(name)
        tally.segments_read += 1
        if data is None:
            continue  # another replay was quicker
        try:
            yield name, decode(data)
        except ValueError:
            tally.damaged_segments.append(name)
