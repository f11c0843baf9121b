"""Long work in steps, so that whoever runs it can let others have their turn.

A body of 1 MB may hold 65,536 records, and take a second. In one step that second would belong to
nobody else: no POST is answered, no probe. A step is a ``yield`` of a generator, so what is pure
stays pure.
"""

from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import TypeVar

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


def finish(steps: Steps[T]) -> T:
    """Do all the steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def each_in_steps(function: Callable[[Given], Made], items: Sequence[Given]) -> Steps[list[Made]]:
    """Apply a function to each item."""
    remaining = iter(items)
    made = list(map(function, islice(remaining, STEP_ITEMS)))
    while len(made) < len(items):
        yield
        made += map(function, islice(remaining, STEP_ITEMS))
    return made
