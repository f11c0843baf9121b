"""Bytes of a hub event -> audit events. Pure.

Each log line in it is judged by what it is, and rebuilt where it came cut.
"""

from ..model import FAULTS, AuditEvent, Skip, Skipped
from .envelope import Origin, read
from .event import Refused, accept_salvaged, is_timestamp, judge
from .salvage import Unsalvageable, salvage

Unpacked = tuple[list[AuditEvent], list[Skipped]]
"""The audit events of a hub event, and what of it is not forwarded."""

RECORDS_MAX = 65_536
"""Records read of one body. One has 500 bytes at least, and a message 20 MB at most: a body with
more is none of Azure's, and is kept whole as a dead letter."""
_SALVAGEABLE = (Skip.BROKEN_AUDIT, Skip.TOO_DEEP)


def unpack(body: bytes, *, received: str = "", mend_cut: bool = True) -> Unpacked:
    """Split the body of a hub event into its audit events and what is skipped.

    ``received`` is when Event Hubs took it (RFC 3339), for cut audit events
    whose record has no time. ``mend_cut`` is SALVAGE. Never raises: whatever
    cannot be read is in the second list, with a reason.
    """
    events: list[AuditEvent] = []
    skipped: list[Skipped] = []
    for number, (raw, refused, origin, time) in enumerate(read(body)):
        if number == RECORDS_MAX:
            detail = f"more than {RECORDS_MAX} records"
            skipped.append(Skipped(Skip.BROKEN_BODY, "", number, detail, body))
            break
        verdict = refused or judge(raw, origin.cluster, origin.category)
        if not isinstance(verdict, AuditEvent) and mend_cut and verdict[0] in _SALVAGEABLE:
            verdict = _salvage(raw, origin, time if is_timestamp(time) else received, verdict)
        if isinstance(verdict, AuditEvent):
            events.append(verdict)
        else:
            kept = raw if verdict[0] in FAULTS else b""
            skipped.append(Skipped(verdict[0], origin.category, number, verdict[1], kept))
    return events, skipped


def _salvage(raw: bytes, origin: Origin, time: str, why: Refused) -> AuditEvent | Refused:
    try:
        return accept_salvaged(salvage(raw, time), origin.cluster, origin.category)
    except Unsalvageable as error:
        return why[0], f"{why[1]}; {error}"
