"""The body of a hub event becomes audit events, and notes about what is not forwarded.

Each log line is classified by its content, and rebuilt where it came cut.
"""

from typing import NamedTuple

from ..model import FAULTS, AuditEvent, Skip, Skipped
from .envelope import LogLine, log_lines
from .event import Refusal, classify, classify_salvaged
from .salvage import Unsalvageable, salvage
from .steps import RECORD_COST, STEP_COST, Steps, finish
from .timestamps import is_timestamp

RECORDS_MAX = 65_536
"""Records that are read of one body. A record of Azure's has at least 500 bytes, and a message at
most 20 MB: a body with more records is not Azure's, and becomes one dead letter as a whole."""
FAULTS_MAX, FAULTS_SHARE = 100, 10
"""A body with more faults than that, and in more than a tenth of its records, is kept whole."""
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
    return finish(unpack_in_steps(body, received=received, salvage_cut=salvage_cut))


def unpack_in_steps(body: bytes, *, received: str, salvage_cut: bool) -> Steps[Unpacked]:
    """Do as `unpack`, in steps between which others may have their turn."""
    events: list[AuditEvent] = []
    skipped: list[Skipped] = []
    cost = 0
    for number, line in enumerate(log_lines(body)):
        if number == RECORDS_MAX:
            detail = f"more than {RECORDS_MAX} records"
            skipped.append(Skipped(Skip.BROKEN_BODY, "", number, detail, body))
            break
        result = _read(line, received, number, salvage_cut=salvage_cut)
        if isinstance(result, AuditEvent):
            events.append(result)
        else:
            skipped.append(result)
        cost += RECORD_COST + len(line.text)
        if cost > STEP_COST:
            yield
            cost = 0
    return Unpacked(events, _kept_once(body, len(events), skipped))


def _read(line: LogLine, received: str, number: int, *, salvage_cut: bool) -> AuditEvent | Skipped:
    origin = line.origin
    result = line.refusal or classify(line.text, origin.cluster, origin.category)
    if not isinstance(result, AuditEvent) and salvage_cut and result.reason in _SALVAGEABLE:
        result = _salvage(line, received, result)
    if isinstance(result, AuditEvent):
        return result
    kept = line.text if result.reason in FAULTS else b""
    return Skipped(result.reason, origin.category, number, result.detail, kept)


def _kept_once(body: bytes, events: int, skipped: list[Skipped]) -> list[Skipped]:
    """Keep a body once, and not each of its faults, where these are very many.

    A dead letter has some 350 bytes beside its own: 65,536 faults of a body of 1 MB took 23 MB.
    """
    faults = [skip for skip in skipped if skip.reason in FAULTS]
    if len(faults) <= FAULTS_MAX or FAULTS_SHARE * len(faults) <= events + len(skipped):
        return skipped
    detail = f"{len(faults)} records cannot be read; the first: {faults[0].detail}"
    whole = Skipped(Skip.BROKEN_BODY, "", faults[0].record, detail, body)
    return [skip for skip in skipped if skip.reason not in FAULTS] + [whole]


def _salvage(line: LogLine, received: str, why: Refusal) -> AuditEvent | Refusal:
    """Rebuild a log line, or add to the refusal why that was not possible."""
    time = line.time if is_timestamp(line.time) else received
    try:
        rebuilt = salvage(line.text, time)
    except Unsalvageable as error:
        return Refusal(why.reason, f"{why.detail}; {error}")
    return classify_salvaged(rebuilt, line.origin.cluster, line.origin.category)
