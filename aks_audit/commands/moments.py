"""Times on the command line."""

from datetime import datetime

from ..audit import timestamps

_DATE = len("2024-05-01")


def parse_moment(text: str) -> datetime:
    """A moment of a command line: RFC 3339, or a date in UTC. Raises ValueError."""
    if len(text) == _DATE:
        return timestamps.parse(f"{text}T00:00:00Z")
    return timestamps.parse(text.replace(" ", "T"))  # RFC 3339, section 5.6, allows a space
