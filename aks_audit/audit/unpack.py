"""The body of a hub event becomes audit events, and notes about what is not forwarded.

Each log line is classified by its content, and rebuilt where it came cut.
"""

from typing import NamedTuple

from ..model import FAULTS, AuditEvent, Skip, Skipped
from .envelope import LogLine, log_lines
from .event import Refusal, classify, classify_salvaged
from .salvage import Unsalvageable, salvage
from .timestamps import is_timestamp

RECORDS_MAX = 65_536
"""Records that are read of one body. A record of Azure's has at least 500 bytes, and a message at
most 20 MB: a body with more records is not Azure's, and becomes one dead letter as a whole."""
_SALVAGEABLE = (Skip.BROKEN_AUDIT, Skip.TOO_DEEP)


class Unpacked(NamedTuple):
    """What a hub event holds, in the order in which it came."""

    events: list[AuditEvent]
    skipped: list[Skipped]
    """What is not forwarded, and why."""


def unpack(body: bytes, *, received: str = "", salvage_cut: bool = True) -> Unpacked:
    """Split the body of a hub event into its audit events and what is skipped.

    Never raises: whatever cannot be read is among the skipped, with a reason.

    Args:
        body: any bytes.
        received: when Event Hubs took the hub event (RFC 3339): the time of cut audit events whose
            record has none.
        salvage_cut: whether cut events are rebuilt (SALVAGE), or skipped as faults.
    """
    events: list[AuditEvent] = []
    skipped: list[Skipped] = []
    for number, line in enumerate(log_lines(body)):
        if number == RECORDS_MAX:
            detail = f"more than {RECORDS_MAX} records"
            skipped.append(Skipped(Skip.BROKEN_BODY, "", number, detail, body))
            break
        origin = line.origin
        result = line.refusal or classify(line.text, origin.cluster, origin.category)
        if not isinstance(result, AuditEvent) and salvage_cut and result.reason in _SALVAGEABLE:
            result = _salvage(line, received, result)
        if isinstance(result, AuditEvent):
            events.append(result)
        else:
            kept = line.text if result.reason in FAULTS else b""
            skipped.append(Skipped(result.reason, origin.category, number, result.detail, kept))
    return Unpacked(events, skipped)


def _salvage(line: LogLine, received: str, why: Refusal) -> AuditEvent | Refusal:
    """Rebuild a log line, or add to the refusal why that was not possible."""
    time = line.time if is_timestamp(line.time) else received
    try:
        rebuilt = salvage(line.text, time)
    except Unsalvageable as error:
        return Refusal(why.reason, f"{why.detail}; {error}")
    return classify_salvaged(rebuilt, line.origin.cluster, line.origin.category)
