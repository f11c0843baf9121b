"""The faults of an endpoint, as a script that the stand-in follows.

A fault is planned for the next requests, in order, a number of times or until it is cleared. A
rule rejects each body that contains a marker, the poison event, even while a fault is planned.
Planning is thread-safe: a test plans in its thread what the server does in another.
"""

import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto

GARBAGE = b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n"


class Kind(StrEnum):
    """What happens to a request."""

    STATUS = auto()
    CUT = auto()
    """The connection is closed after the head of the request, its body unread."""
    CLOSE = auto()
    """The connection is closed in place of the answer, the body having been read."""
    SILENCE = auto()
    """No answer, until the client gives up."""
    DELAY = auto()
    """The answer comes late."""
    TRICKLE = auto()
    """The answer comes byte by byte, over that many seconds."""
    GARBAGE = auto()
    """The answer is not HTTP."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault; `taken` says whether the events are received in spite of it."""

    kind: Kind
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    data: bytes = GARBAGE
    taken: bool = False


HEALTHY = Fault(Kind.STATUS, taken=True)


@dataclass(slots=True)
class _Planned:
    fault: Fault
    left: int | None


_WORD = re.compile(r"(?P<name>[a-z]+|\d{3})(?::(?P<value>[\d.]+))?(?:\*(?P<times>\d+|forever))?")


class Faults:
    """The script of faults, empty at first."""

    def __init__(self, *, latency_ms: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._planned: deque[_Planned] = deque()
        self._poison: list[tuple[bytes, Fault]] = []
        self.latency_ms = latency_ms
        """How long every answer waits, from the moment the body has been read."""

    def plan(self, fault: Fault, times: int | None = 1) -> None:
        """Add a fault after those already planned; None means "until cleared"."""
        with self._lock:
            self._planned.append(_Planned(fault, times))

    def answer(
        self,
        status: int,
        times: int | None = 1,
        *,
        retry_after: int | str | None = None,
        headers: Mapping[str, str] | None = None,
        taken: bool = False,
    ) -> None:
        """Answer with this status."""
        extra = dict(headers or {})
        if retry_after is not None:
            extra["Retry-After"] = str(retry_after)
        self.plan(Fault(Kind.STATUS, status, headers=extra, taken=taken or status == 200), times)

    def cut(self, times: int | None = 1) -> None:
        """Close the connection in the middle of the request."""
        self.plan(Fault(Kind.CUT), times)

    def close(self, times: int | None = 1, *, taken: bool = False) -> None:
        """Read the request, then close the connection without an answer."""
        self.plan(Fault(Kind.CLOSE, taken=taken), times)

    def silence(self, times: int | None = 1, *, taken: bool = False) -> None:
        """Never answer."""
        self.plan(Fault(Kind.SILENCE, taken=taken), times)

    def delay(self, seconds: float, times: int | None = 1, *, taken: bool = True) -> None:
        """Answer 200 late: the events are taken, though the client may not wait for the answer."""
        self.plan(Fault(Kind.DELAY, seconds=seconds, taken=taken), times)

    def trickle(self, seconds: float, times: int | None = 1, *, taken: bool = True) -> None:
        """Answer 200 byte by byte, over that many seconds."""
        self.plan(Fault(Kind.TRICKLE, seconds=seconds, taken=taken), times)

    def garbage(self, times: int | None = 1, *, data: bytes = GARBAGE, taken: bool = False) -> None:
        """Answer with bytes that are not HTTP, then close."""
        self.plan(Fault(Kind.GARBAGE, data=data, taken=taken), times)

    def reject(self, marker: bytes | str, status: int = 400) -> None:
        """Answer each body that contains the marker with this status, until cleared."""
        data = marker.encode() if isinstance(marker, str) else marker
        with self._lock:
            self._poison.append((data, Fault(Kind.STATUS, status)))

    def script(self, text: str) -> None:
        """Plan a whole sequence: `503*3 429:2 cut close silence delay:1.5*2 garbage 500*forever`.

        A number after the colon is the seconds of a delay or of Retry-After. `200` lets a request
        pass.
        """
        parsed = [_parse(word) for word in text.split()]
        for fault, times in parsed:
            self.plan(fault, times)

    def clear(self) -> None:
        """Remove all planned faults and all markers; the latency stays."""
        with self._lock:
            self._planned.clear()
            self._poison.clear()

    @property
    def pending(self) -> bool:
        """Whether something is still planned."""
        with self._lock:
            return bool(self._planned)

    def next(self) -> Fault:
        """Return the fault that is planned for the request that has just begun."""
        with self._lock:
            if not self._planned:
                return HEALTHY
            head = self._planned[0]
            if head.left is not None:
                head.left -= 1
                if head.left <= 0:
                    self._planned.popleft()
            return head.fault

    def poisoned(self, body: bytes) -> Fault | None:
        """Return the rejection that this body calls for, if any."""
        with self._lock:
            return next((fault for marker, fault in self._poison if marker in body), None)


def _parse(word: str) -> tuple[Fault, int | None]:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ValueError(f"not a fault: {word!r}")
    value, count = match["value"], match["times"] or "1"
    return _fault(match["name"], value), None if count == "forever" else int(count)


def _fault(name: str, value: str | None) -> Fault:
    if name.isdigit():
        headers = {"Retry-After": value} if value else {}
        return Fault(Kind.STATUS, int(name), headers=headers, taken=name == "200")
    kind = Kind(name)
    late = kind in {Kind.DELAY, Kind.TRICKLE}
    return Fault(kind, seconds=float(value or 0), taken=late)
