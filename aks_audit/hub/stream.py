"""Is it still the stream that a checkpoint was made for? The evidence, and what it says. Pure.

A hub that is deleted and made anew under its name, and a namespace that fails over without its
data, begin their sequence numbers and offsets again. Nobody says so: where the new stream is
shorter than the checkpoint Event Hubs refuses the position, and where it is longer the reader goes
on in the middle (azure-sdk-for-java #28990, azure-sdk-for-net #48101: the SDKs do not decide).

What raises a suspicion is cheap and may be wrong. Then the hub is asked, and `difference` decides.
"""

import re

import msgspec

from ..model import Position

_REFUSED = re.compile(r"supplied (offset|sequence number) .* is invalid|invalid-offset")
"""How Event Hubs refuses a position that the stream does not have; a geo-replicated namespace has a
condition of its own ("com.microsoft:georeplication:invalid-offset", azure-sdk-for-net #48101)."""


class State(msgspec.Struct, frozen=True):
    """What the hub says of a partition."""

    hub_created_ms: int
    oldest: int
    """The sequence number of the oldest event that it still has, or of the next one."""
    last: Position
    """Of the newest event ever, though it may be gone; -1 where there was none."""

    @property
    def before_oldest(self) -> Position:
        """The position behind which all there is begins."""
        return Position(self.oldest - 1, "-1", None, self.hub_created_ms)


def refused(error: str) -> bool:
    """Whether Event Hubs refuses a position because the stream does not reach so far."""
    return _REFUSED.search(error) is not None


def suspicion(start: Position, last: Position, now: Position) -> str | None:
    """What is wrong with an event that does not come right behind the one before it.

    Args:
        start: Where the claim began to read.
        last: The last event that was received under the claim, or ``start``.
        now: The event. After a reconnect it may be one that came before.
    """
    if now.sequence_number > last.sequence_number:
        return None
    if now.sequence_number < start.sequence_number:
        return f"sequence number {now.sequence_number} came, {start.sequence_number} was asked for"
    for mark in (start, last):
        if now.sequence_number == mark.sequence_number and (why := _unlike(mark, now)):
            return why
    if last.enqueued_ms is not None and (now.enqueued_ms or 0) > last.enqueued_ms:
        return f"sequence number {now.sequence_number} came after {last.sequence_number}, and anew"
    return None


def difference(stored: Position, state: State, event: Position | None) -> str | None:
    """Why a stream is not the one of a checkpoint; None where it is.

    Args:
        stored: The checkpoint.
        state: What the hub says of the partition.
        event: The event that has the checkpoint's sequence number; None where it is gone.
    """
    created = stored.hub_created_ms
    anew = "the hub was created anew" if created not in {None, state.hub_created_ms} else None
    if state.last.sequence_number < stored.sequence_number:
        return f"its last sequence number is {state.last.sequence_number}"
    if event is None or stored.sequence_number < 0:
        return anew
    if stored.enqueued_ms is None and anew:
        return anew
    # With its time of enqueuing a replicated event is recognised in a hub that is another one.
    return _unlike(stored, event)


def _unlike(noted: Position, event: Position) -> str | None:
    """Why an event is not the one that was noted with the same sequence number."""
    if noted.enqueued_ms is not None:
        if noted.enqueued_ms != event.enqueued_ms:
            return f"event {event.sequence_number} was enqueued at another time"
        return None
    # The form changes when a namespace becomes geo-replicated ("1:2:3"): that proves nothing.
    numbers = noted.offset.isdecimal() and event.offset.isdecimal()
    if numbers and noted.offset != event.offset:
        return f"event {event.sequence_number} has another offset"
    return None
