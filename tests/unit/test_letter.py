"""Dead letters as lines of a segment."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from aks_audit.deadletters import letter as deadletter
from aks_audit.deadletters.letter import DeadLetter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def letter(body: bytes = b"{}", **changes: object) -> DeadLetter:
    known: dict[str, object] = {
        "body": body,
        "kind": "raw",
        "reason": "broken-body",
        "detail": "not UTF-8",
        "partition": "3",
        "sequence_number": 42,
        "offset": "4711",
        "enqueued_at": NOON,
        "dead_at": NOON,
    }
    return DeadLetter(**known | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\0\xff\xfe", bytes(range(256)), b'"\n"', b"x" * 10**6]
)
def test_the_bytes_survive_whatever_they_are(body: bytes) -> None:
    kept = letter(body, status=400, attempts=7, audit_id="\U0001f600\n\0")
    assert deadletter.decode(deadletter.encode([kept, kept])) == [kept, kept]
    assert deadletter.encode([kept]).count(b"\n") == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: data + b"{}\n",
        lambda _: b"[" * 100_000 + b"\n",
    ],
)
def test_a_damaged_segment_is_told(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        deadletter.decode(damage(deadletter.encode([letter()])))
