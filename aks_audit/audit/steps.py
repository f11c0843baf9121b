"""Long work in steps, so that whoever runs it can let others have their turn.

A body of 1 MB may hold 65,536 records, and take a second. If that were one step, no POST and no
probe would be answered meanwhile. A step is a ``yield`` of a generator, so what is pure stays pure.
"""

from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import Generic, TypeVar

import msgspec

RECORD_COST = 256
"""What a record costs beside its bytes, in the time that a byte takes (measured, roughly)."""
STEP_COST = 256 * 1024
"""A step of some 10 ms. Bodies as AKS sends them have less, and take one step."""
STEP_ITEMS = STEP_COST // RECORD_COST

T = TypeVar("T")
Given = TypeVar("Given")
Made = TypeVar("Made")

Steps = Generator[None, None, T]
"""Work that stops between its steps, and returns a result."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """The end of the steps."""

    result: T


def step(steps: Steps[T]) -> Done[T] | None:
    """Do the next step; returns the result if it was the last one."""
    try:
        next(steps)
    except StopIteration as end:
        return Done(end.value)
    return None


def finish(steps: Steps[T]) -> T:
    """Do all the steps at once."""
    while (done := step(steps)) is None:
        pass
    return done.result


def each_in_steps(function: Callable[[Given], Made], items: Sequence[Given]) -> Steps[list[Made]]:
    """Apply a function to each item."""
    remaining = iter(items)
    made = list(map(function, islice(remaining, STEP_ITEMS)))
    while len(made) < len(items):
        yield
        made += map(function, islice(remaining, STEP_ITEMS))
    return made
