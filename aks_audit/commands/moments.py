"""Times on the command line."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime:
    """A moment of a command line: a date, or a date and time; in UTC where it names no offset.

    RFC 3339, and what else of ISO 8601 Python reads. Raises ValueError.
    """
    moment = datetime.fromisoformat(text.upper())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
