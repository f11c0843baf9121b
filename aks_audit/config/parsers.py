"""The pure parsers that make the configuration's values from text.

They stand apart from the table of variables, so that each rule can be read and tested with nothing
but a string. A parser returns the value or raises ValueError. The message is the second half of a
sentence about the text ("is not a whole number"). It never repeats the text: only the caller knows
whether that is a secret.
"""

import ipaddress
import re
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import NoReturn, cast, get_args

from ..audit import timestamps
from .values import Exhausted, LogFormat, LogLevel, StartAt, StartPosition, StreamReset


def invalid(reason: str) -> NoReturn:
    """Raise ValueError, also in the middle of an expression."""
    raise ValueError(reason)


def integer(low: int, high: int) -> Callable[[str], int]:
    """Make a parser of whole numbers from low to high, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
            invalid("is not a whole number")
        number = int(text)
        return number if low <= number <= high else invalid(f"is outside {low} to {high}")

    return parse


def rate(high: int) -> Callable[[str], float | None]:
    """Make a parser of events per second; 0 means no limit and gives None."""

    def parse(text: str) -> float | None:
        if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text):
            invalid("is not a number")
        number = float(text)
        return (number or None) if number <= high else invalid(f"is above {high}")

    return parse


_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)")


def duration(low_ms: int, high_ms: int) -> Callable[[str], float]:
    """Make a parser of milliseconds or Go's notation ("500ms", "1m30s"), which gives seconds."""

    def parse(text: str) -> float:
        if re.fullmatch(r"[0-9]{1,15}", text):
            milliseconds = float(text)
        elif re.fullmatch(f"(?:{_DURATION_PART.pattern})+", text):
            parts = _DURATION_PART.findall(text)
            milliseconds = sum(float(number) * _MS[unit] for number, unit in parts)
        else:
            invalid("is not a duration: whole milliseconds, or a number with ms, s, m or h")
        if not low_ms <= milliseconds <= high_ms:
            invalid(f"is outside {low_ms} to {high_ms} ms")
        return milliseconds / 1000

    return parse


_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def _size_text(size: int) -> str:
    """Write a size in the largest unit that divides it."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale and size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size} bytes"


def size(low: int, high: int) -> Callable[[str], int]:
    """Make a parser of bytes or KiB, MiB, GiB (Kubernetes' Ki, Mi, Gi as well); gives bytes."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15}) ?(b?|[kmg]ib?)", text.lower())
        if not match:
            invalid("is not a size: bytes, or a whole number with KiB, MiB or GiB")
        number = int(match[1]) * _BYTES[match[2][:1]]
        if not low <= number <= high:
            invalid(f"is outside {_size_text(low)} to {_size_text(high)}")
        return number

    return parse


def boolean(text: str) -> bool:
    """Read true, false, 1, 0, yes or no, in any case."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    value = values.get(text.lower())
    return invalid("is neither true nor false") if value is None else value


_HUB = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,48}[A-Za-z0-9])?")
_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


def hub_name(text: str) -> str:
    """Check an event hub's name by Azure's rule: 1 to 256 characters."""
    if not _HUB.fullmatch(text):
        invalid(
            "is not an event hub's name: letters, digits, '.', '-' and '_', "
            "with a letter or digit at both ends"
        )
    return text


def consumer_group(text: str) -> str:
    """Check a consumer group's name by Azure's rule: 1 to 50 characters, or $Default."""
    if text.lower() == "$default":
        return "$Default"
    if not _GROUP.fullmatch(text):
        invalid(
            "is not a consumer group's name: $Default, or 1 to 50 letters, digits, "
            "'.', '-' and '_' with a letter or digit at both ends"
        )
    return text


def container_name(text: str) -> str:
    """Check a blob container's name by Azure's rule: 3 to 63 characters."""
    if not _CONTAINER.fullmatch(text):
        invalid(
            "is not a blob container's name: 3 to 63 lower-case letters, digits and single "
            "hyphens, with a letter or digit at both ends"
        )
    return text


def file_path(text: str) -> Path:
    """Read a path whose last part can be a file's name."""
    if "\0" in text:
        invalid("holds a NUL character")
    if text.endswith("/") or Path(text).name in {"", ".."}:
        invalid("names a directory, not a file")
    return Path(text)


_CENTURY = "20"
"""Of years. Event Hubs is not older; and in the year 1 or 9999 the conversion to UTC may fail."""


def start_position(text: str) -> StartPosition:
    """One end of the partition, or a moment with its offset from UTC."""
    if text.lower() in set(StartAt):
        return StartAt(text.lower())
    try:
        moment = timestamps.parse(text)
    except ValueError:
        invalid("is neither latest nor earliest nor an RFC 3339 time with its offset from UTC")
    if not text.startswith(_CENTURY):
        invalid("is not a time of this century")
    return moment.astimezone(UTC)


def exhausted(text: str) -> Exhausted:
    """Read what happens after the last retry."""
    try:
        return Exhausted(text.lower())
    except ValueError:
        invalid("is not one of hold, deadletter and drop")


def stream_reset(text: str) -> StreamReset:
    """Read where reading goes on in another stream than that of the checkpoint."""
    try:
        return StreamReset(text.lower())
    except ValueError:
        invalid("is not one of earliest, latest and stop")


def cluster_name(text: str) -> bool:
    """Read whether the cluster's name is added to events."""
    if text.lower() not in {"off", "annotate"}:
        invalid("is neither off nor annotate")
    return text.lower() == "annotate"


def log_level(text: str) -> LogLevel:
    """Read a level by its name in logrus."""
    name = text.upper()
    names = {"WARNING": LogLevel.WARN, **LogLevel.__members__}
    reason = "is not one of panic, fatal, error, warn, info, debug and trace"
    return names.get(name) or invalid(reason)


def verbose_level(text: str) -> LogLevel:
    """Read a level as a number of Sysdig's scale, on which each step adds one level."""
    levels = {"1": LogLevel.ERROR, "2": LogLevel.WARN, "3": LogLevel.INFO, "4": LogLevel.DEBUG}
    return levels.get(text) or invalid("is not one of 1, 2, 3 and 4")


def log_format(text: str) -> LogFormat:
    """Read json (for machines) or console (for people)."""
    if text.lower() not in get_args(LogFormat):
        invalid("is neither json nor console")
    return cast("LogFormat", text.lower())


_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*:[^\[\]]*)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_MAX_PORT = 65535


def is_host(text: str) -> bool:
    """Whether this is a host name or an IP address, IPv6 without brackets."""
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            return False
        return "%" not in text
    return bool(_HOST_NAME.fullmatch(text)) and ".." not in text


def is_authority(text: str) -> bool:
    """Whether this is a host with or without a port, IPv6 in brackets."""
    match = _AUTHORITY.fullmatch(text)
    return bool(match and is_host(match[1] or match[2]) and int(match[3] or 0) <= _MAX_PORT)


_ALL_IPV4 = ipaddress.IPv4Address(0)


def listen_address(text: str) -> tuple[str, int]:
    """Read host and port: Go's ":9000" (every IPv4 interface), "0.0.0.0:9000" or "[::1]:9000"."""
    full = f"{_ALL_IPV4}{text}" if text.startswith(":") else text
    host, colon, port = full.rpartition(":")
    if not colon or not port or not is_authority(full):
        invalid("is not an address with a port")
    return host.strip("[]"), int(port)
