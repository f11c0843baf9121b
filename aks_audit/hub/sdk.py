"""What of azure-eventhub 5.15.1 has to be mended, and has no public way to it.

A receiver link remembers the delivery tag of every event for ever
(`_pyamqp/aio/_receiver_async.py`, ``_received_delivery_tags``): it forgets one
only when a delivery is settled one by one, which the Event Hubs client never
does. That is some 150 bytes an event (measured), a gigabyte a day at 100
events a second; azure-sdk-for-python #36398 may be about it.
"""

from typing import Any

from azure.eventhub._pyamqp.aio import _session_async

_sessions: Any = _session_async
"""Where the links' class is looked up; the SDK's own modules are untyped."""
_Link: Any = _sessions.ReceiverLink


class _Forgetful(set[bytes]):
    """A set of tags that nobody will ask for."""

    def add(self, _tag: bytes, /) -> None:
        """Forget it at once."""


def _make_link(*args: Any, **kwargs: Any) -> Any:
    link = _Link(*args, **kwargs)
    link._received_delivery_tags = _Forgetful()  # noqa: SLF001
    return link


def forget_delivery_tags() -> None:
    """Have the sessions that are opened from now on make links that do not grow."""
    _sessions.ReceiverLink = _make_link
