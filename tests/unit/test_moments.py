from datetime import UTC, datetime

import pytest

from aks_audit.commands.moments import parse_moment

MOMENT = datetime(2024, 5, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T08:00:00Z",
        "2024-05-01t08:00:00z",
        "2024-05-01 08:00:00Z",
        "2024-05-01T08:00:00.000Z",
        "2024-05-01T10:00:00+02:00",
        "2024-05-01T08:00:00",  # as 1.0 read it: in UTC
        "2024-05-01T08:00",
    ],
)
def test_a_moment_is_a_date_and_a_time(text: str) -> None:
    assert parse_moment(text) == MOMENT


def test_a_date_begins_in_utc() -> None:
    assert parse_moment("2024-05-01") == MOMENT.replace(hour=0)


@pytest.mark.parametrize("text", ["", "yesterday", "2024-02-30", "2024-05-01T08:00:00Z "])
def test_anything_else_is_not_a_moment(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message may be Python's
        parse_moment(text)
