"""The value types of the configuration.

They stand apart from it so that a module which needs one of them (logging needs the levels) does
not have to know the environment.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Literal, NoReturn, TypeAlias, final


@final
class Secret:
    """A string that shows itself only when asked by name.

    Deliberately no dataclass: serializers (msgspec, dataclasses.asdict) look into those.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Give the value, to whoever has to hand it on."""
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

    def __deepcopy__(self, memo: object) -> "Secret":
        return self  # immutable, so a copy of a Config may share it

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


class Exhausted(StrEnum):
    """What becomes of an event after its last retry."""

    HOLD = "hold"
    """Keep it and go on probing; nothing is lost, Event Hubs keeps the backlog."""
    DEADLETTER = "deadletter"
    """Keep it aside and go on with the next."""
    DROP = "drop"
    """Count it, forget it and go on with the next."""


class StartAt(StrEnum):
    """The two ends of a partition."""

    LATEST = "latest"
    """Only what arrives from now on."""
    EARLIEST = "earliest"
    """Everything that Event Hubs still retains."""


StartPosition: TypeAlias = StartAt | datetime
"""Where a partition without a checkpoint begins; a datetime is aware and in UTC."""

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
