"""Times on the command line."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime:
    """A moment of a command line: RFC 3339, or a date in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
