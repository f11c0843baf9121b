from datetime import UTC, datetime

import pytest

from aks_audit.audit.timestamps import is_timestamp, parse

MOMENT = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
TIMES = [
    "2024-05-01T10:30:00Z",
    "2024-05-01T10:30:00.0Z",
    "2024-05-01T10:30:00.000000000000Z",
    "2024-05-01T12:30:00+02:00",
    "2024-05-01T12:30:00.0+02:00",
    "2024-04-30T23:30:00-11:00",
    "2024-05-01T10:30:00-00:00",
]
OTHERS = [
    "",
    "Z",
    ".Z",
    "2024-05-01",
    "2024-05-01T10:30Z",
    "2024-05-01T10:30:00",
    "2024-05-01T10:30:00.25",
    "2024-05-01T10:30:00.Z",
    "2024-05-01T10:30:00,25Z",
    "2024-05-01T10:30:00.2\u0665Z",
    "2024-05-01T10:30:00.2\u00b2Z",
    "2024-05-01T10:30:0\u0665Z",
    "2024-05-01 10:30:00Z",
    "2024-05-01T10:30:00Z\n",
    " 2024-05-01T10:30:00Z",
    "2024-05-01T10:30:00+0200",
    "2024-05-01T10:30:00+02",
    "2024-05-01T24:00:00Z",
    "2024-05-01T10:60:00Z",
    "2024-05-01T10:30:60.5Z",
    "2024-02-30T10:30:00Z",
    "2023-02-29T10:30:00.25Z",
    "20240501T103000Z",
    "2024-W18-3T10:30:00Z",
    "02024-05-01T10:30:00Z",
]


@pytest.mark.parametrize("text", TIMES)
def test_what_is_rfc_3339_is_a_time(text: str) -> None:
    assert is_timestamp(text)
    assert parse(text) == MOMENT


@pytest.mark.parametrize("text", OTHERS)
def test_nothing_else_is_a_time(text: str) -> None:
    assert not is_timestamp(text)
    with pytest.raises(ValueError):  # noqa: PT011 - the message may be Python's
        parse(text)


@pytest.mark.parametrize("text", TIMES)
def test_small_letters_are_for_people_only(text: str) -> None:
    """Go's parser, and so Falco's, takes capitals only."""
    assert not is_timestamp(text.lower())
    assert parse(text.lower()) == MOMENT


def test_a_fraction_is_read_to_the_microsecond() -> None:
    assert parse("2024-05-01T10:30:00.123456789Z") == MOMENT.replace(microsecond=123_456)
