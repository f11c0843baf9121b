"""The value types of the configuration.

They stand apart from `settings`, so that a module which needs only one of them (logging needs the
levels) does not import the whole configuration.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal, NoReturn, TypeAlias, final


@final
class Secret:
    """A string that nothing shows by accident: only `reveal` gives it.

    It is not a dataclass, because serializers (msgspec, dataclasses.asdict) look into those.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the value, to code that has to pass it on to a library."""
        return self._value

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret does not change")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


class Exhausted(StrEnum):
    """What happens to an event after its last retry."""

    HOLD = "hold"
    """Keep it in flight and go on trying; nothing is lost, Event Hubs keeps the backlog."""
    DEADLETTER = "deadletter"
    """Put it into the dead-letter store and go on with the next."""
    DROP = "drop"
    """Count it, drop it and go on with the next."""


class StartAt(StrEnum):
    """The two ends of a partition."""

    LATEST = "latest"
    """Only events that arrive from now on."""
    EARLIEST = "earliest"
    """Every event that Event Hubs still retains."""


class StreamReset(StrEnum):
    """Where reading goes on in a partition whose stream is not the one of the checkpoint."""

    EARLIEST = "earliest"
    """At the oldest event of the new stream."""
    LATEST = "latest"
    """Behind the newest event of the new stream."""
    STOP = "stop"
    """Nowhere, until somebody decides."""


StartPosition: TypeAlias = StartAt | datetime
"""Where reading begins in a partition without a checkpoint; a datetime is aware and in UTC."""

LogFormat: TypeAlias = Literal["json", "console"]


class LogLevel(IntEnum):
    """The seven levels of logrus, with the numbers of the standard library where it has them."""

    TRACE = 5
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50
    PANIC = 60
