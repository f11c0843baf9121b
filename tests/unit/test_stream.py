"""What tells one stream from another: each piece of evidence by itself."""

import pytest

from aks_audit.checkpoints.record import Unusable, fields, parse
from aks_audit.hub.stream import State, difference, refused, suspicion
from aks_audit.model import START_OF_STREAM, Position

CREATED, ANEW = 1_000_000, 2_000_000


def at(number: int, offset: str | None = None, enqueued_ms: int | None = None) -> Position:
    return Position(number, str(number * 100) if offset is None else offset, enqueued_ms, CREATED)


def state(oldest: int, last: int, created: int = CREATED) -> State:
    return State(created, oldest, Position(last, str(last * 100), last, created))


OLD = Position(7, "700")
"""As version 1.0 wrote it."""


@pytest.mark.parametrize(
    ("stored", "now", "event"),
    [
        (at(7, enqueued_ms=5), state(0, 9), at(7, enqueued_ms=5)),
        (at(7, "no number", 5), state(0, 9), at(7, enqueued_ms=5)),
        # A replicated hub is another one, and has the same events.
        (at(7, enqueued_ms=5), state(0, 9, ANEW), at(7, enqueued_ms=5)),
        (at(7, enqueued_ms=5), state(8, 9), None),
        (at(7, enqueued_ms=5), state(8, 7), None),
        (OLD, state(0, 9), at(7)),
        (OLD, state(8, 9), None),
        # Geo-replication has changed the form of the offsets.
        (OLD, state(0, 9), at(7, "1:2:3")),
        (Position(7, ""), state(0, 9), at(7)),
        (START_OF_STREAM, state(0, 9), None),
        (START_OF_STREAM, state(0, -1), None),
    ],
)
def test_the_same_stream(stored: Position, now: State, event: Position | None) -> None:
    assert difference(stored, now, event) is None


@pytest.mark.parametrize(
    ("stored", "now", "event", "why"),
    [
        (at(7, enqueued_ms=5), state(0, 9), at(7, enqueued_ms=6), "enqueued at another time"),
        (at(7, enqueued_ms=5), state(0, 6), None, "its last sequence number is 6"),
        (at(7, enqueued_ms=5), state(8, 9, ANEW), None, "created anew"),
        (at(7), state(0, 9, ANEW), at(7), "created anew"),
        (at(-1), state(0, 9, ANEW), None, "created anew"),
        (OLD, state(0, 9), at(7, "701"), "another offset"),
        (OLD, state(0, 6), None, "its last sequence number is 6"),
    ],
)
def test_another_stream(stored: Position, now: State, event: Position | None, why: str) -> None:
    assert why in (difference(stored, now, event) or "")


@pytest.mark.parametrize(
    ("number", "enqueued_ms", "suspicious"),
    [
        (5, 50, False),  # the event of the checkpoint comes first
        (5, 51, True),
        (4, 40, True),  # asked for were those from 5 on
        (9, 90, False),  # the last one comes again when the link is opened again
        (9, 91, True),
        (7, 70, False),  # one that was received comes again
        (7, 95, True),
        (10, 100, False),
    ],
)
def test_what_does_not_come_in_order(number: int, enqueued_ms: int, *, suspicious: bool) -> None:
    now = at(number, enqueued_ms=enqueued_ms)
    found = suspicion(at(5, enqueued_ms=50), at(9, enqueued_ms=90), now)
    assert (found is not None) is suspicious


@pytest.mark.parametrize(
    ("text", "is_refusal"),
    [
        ("The supplied offset '12' is invalid. The last offset in the system is '-1'", True),
        ("The supplied sequence number '488' is invalid. The last sequence number", True),
        ("condition com.microsoft:georeplication:invalid-offset", True),
        ("The messaging entity 'hub' could not be found.", False),
        ("Unauthorized access. 'Listen' claim is required", False),
    ],
)
def test_a_position_that_is_refused(text: str, *, is_refusal: bool) -> None:
    assert refused(text) is is_refusal


@pytest.mark.parametrize(
    ("known", "position"),
    [
        ({"sequencenumber": "7", "offset": "700"}, Position(7, "700")),
        ({"SequenceNumber": " 7 ", "Offset": "700"}, Position(7, "700")),
        ({"sequencenumber": "7", "offset": ""}, Position(7, "")),
        ({"sequencenumber": "7", "offset": "no offset"}, Position(7, "")),
        ({"sequencenumber": "7"}, Position(7, "")),
        ({"sequencenumber": "7", "offset": "1:2:3"}, Position(7, "1:2:3")),
        ({"sequencenumber": "-1", "offset": "garbage"}, START_OF_STREAM),
        ({"sequencenumber": "7", "offset": "700", "enqueued": "x"}, Position(7, "700")),
        (
            {"sequencenumber": "7", "offset": "700", "enqueued": "5", "hubcreated": "3"},
            Position(7, "700", 5, 3),
        ),
    ],
)
def test_a_checkpoint_that_can_be_used(known: dict[str, str], position: Position) -> None:
    assert parse(known, "here") == position
    assert parse(fields(position, "me"), "here") == position


@pytest.mark.parametrize(
    "number", ["", "seven", "-2", "1.5", "7_0", "\u0667", "9" * 19, "9" * 40, None]
)
def test_a_checkpoint_that_cannot_be_used_is_named(number: str | None) -> None:
    known = {"offset": "700"} | ({} if number is None else {"sequencenumber": number})
    with pytest.raises(
        Unusable, match="the sequence number of the checkpoint a/b/0 cannot be used"
    ):
        parse(known, "a/b/0")
