"""RFC 3339 times: the one check, for events and for the configuration.

Falco drops an event whose ``stageTimestamp`` Go's ``time.RFC3339`` does not take, so the check of
events is exact. What people write may have a small ``t`` and ``z``, as RFC 3339 allows.
"""

import re
from datetime import datetime
from functools import lru_cache

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_SECOND = len("2026-03-01T08:00:00")


def is_timestamp(text: str) -> bool:
    """Whether Go's ``time.RFC3339`` takes it, and so Falco: a capital T and Z, a colon."""
    fraction = text[_SECOND + 1 : -1]
    if fraction.isdigit() and fraction.isascii() and text[_SECOND] == "." and text[-1] == "Z":
        return _is_second(text[:_SECOND])  # as the API server writes it
    return _is_rfc_3339(text)


def parse(text: str) -> datetime:
    """Read a time that somebody wrote, with its offset from UTC.

    Digits beyond microseconds are cut off.

    Raises:
        ValueError: it is not an RFC 3339 time, or the calendar does not have it.
    """
    return _read(text.upper())


@lru_cache(maxsize=1024)
def _is_second(text: str) -> bool:
    """Check a time up to its seconds. Many events share one, so the answers are remembered."""
    return _is_rfc_3339(text + "Z")


def _is_rfc_3339(text: str) -> bool:
    try:
        _read(text)
    except ValueError:
        return False
    return True


def _read(text: str) -> datetime:
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError("not an RFC 3339 time with its offset from UTC")
    return datetime.fromisoformat(text)  # raises ValueError for the 30th of February
