"""Tell whether a log line is an audit event that Falco will take.

The category of a record cannot be trusted (Azure/AKS #4750 has audit events under
``kube-apiserver``), so every log is classified by its content. What is accepted is one valid JSON
object in UTF-8, byte for byte as it came: Falco drops a whole batch over one item that its parser
does not take.
"""

import re
from typing import NamedTuple

import msgspec

from ..model import AuditEvent, Skip
from .jsontext import BOM, depth, replace_lone_surrogates
from .timestamps import is_timestamp

MAX_DEPTH = 298
"""Levels of an event. Falco parses with valyala/fastjson, which takes 300 (``MaxDepth``), a scalar
being a level of its own; an EventList adds two around the event. One deeper event would cost its
whole batch."""


class Refusal(NamedTuple):
    """Why something is not an audit event to forward."""

    reason: Skip
    detail: str = ""
    """For people: what is wrong; never content of the event."""


_WIRE_NAMES = {
    "audit_id": "auditID",
    "api_version": "apiVersion",
    "stage_timestamp": "stageTimestamp",
}


class _Audit(msgspec.Struct, gc=False, rename=_WIRE_NAMES):
    """What Falco needs of an event (plugin k8saudit: kind, stageTimestamp), and its identity."""

    kind: str
    audit_id: str
    stage_timestamp: str
    stage: str = ""
    api_version: str = "audit.k8s.io/v1"


class _User(msgspec.Struct, gc=False):
    username: str = ""


class _ObjectRef(msgspec.Struct, gc=False):
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class _Summary(msgspec.Struct, gc=False, rename={"object_ref": "objectRef"}):
    verb: str = ""
    user: _User = msgspec.field(default_factory=_User)
    object_ref: _ObjectRef = msgspec.field(default_factory=_ObjectRef)


_audit = msgspec.json.Decoder(_Audit)
_summary = msgspec.json.Decoder(_Summary)

_KLOG = Refusal(Skip.KLOG)
_EMPTY = Refusal(Skip.EMPTY)
_NOT_AUDIT = Refusal(Skip.NOT_AUDIT)
_TOO_DEEP = Refusal(Skip.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")

# Events in the API server's order of keys, and in alphabetical order.
_BEGINNINGS = (
    b'{"kind":"Event"',
    b'{"apiVersion":"audit.k8s.io',
    b'{"annotations":',
    b'{"auditID"',
    b'{"level":',
)
_BEGINS_LIKE_AUDIT = re.compile(
    rb'\s*\{\s*"(?:kind"\s*:\s*"Event"|apiVersion"\s*:\s*"audit\.k8s\.io'
    rb'|auditID"|(?:annotations|level)"\s*:)'
)
_NAMES_AUDIT_ID = re.compile(rb'"auditID"\s*:')


def classify(log: bytes, cluster: str = "", category: str = "") -> AuditEvent | Refusal:
    """Tell whether a log line is an audit event, or why it is not one.

    Args:
        log: the line, in UTF-8.
        cluster: the cluster's name; it is only put into the event.
        category: the record's category; it is only put into the event.
    """
    raw = log.strip()
    if not raw.startswith(b"{"):
        raw = raw.removeprefix(BOM).lstrip()
        if not raw.startswith(b"{"):
            return _KLOG if raw else _EMPTY
    try:
        audit = _decode(raw)
    except msgspec.ValidationError as error:
        # JSON as far as msgspec read, but with other types: either not an audit event, or broken.
        return Refusal(Skip.BROKEN_AUDIT if _claims_audit(raw) else Skip.NOT_AUDIT, str(error))
    except msgspec.DecodeError as error:
        return Refusal(Skip.BROKEN_AUDIT if _looks_like_audit(raw) else Skip.NOT_AUDIT, str(error))
    except RecursionError:
        return _TOO_DEEP
    return _accept(raw, audit, cluster, category)


def classify_salvaged(raw: bytes, cluster: str, category: str) -> AuditEvent | Refusal:
    """Classify an event that was rebuilt: it has to meet the same demands as any other."""
    result = classify(raw, cluster, category)
    if isinstance(result, AuditEvent):
        return msgspec.structs.replace(result, salvaged=True)
    return Refusal(Skip.BROKEN_AUDIT, result.detail)


def begins_like_audit(raw: bytes) -> bool:
    """Whether a text begins as an audit event does."""
    return _BEGINS_LIKE_AUDIT.match(raw) is not None


def _looks_like_audit(raw: bytes) -> bool:
    return (
        begins_like_audit(raw)
        or _NAMES_AUDIT_ID.search(raw) is not None
        # Cut within its first key or value.
        or any(beginning.startswith(b"".join(raw[:64].split())) for beginning in _BEGINNINGS)
    )


def _claims_audit(raw: bytes) -> bool:
    return _looks_like_audit(raw) and b"audit.k8s.io" in raw


def _decode(raw: bytes) -> _Audit:
    try:
        return _audit.decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        replaced = replace_lone_surrogates(raw)
        if replaced == raw:
            raise
        return _audit.decode(replaced)


def _accept(raw: bytes, audit: _Audit, cluster: str, category: str) -> AuditEvent | Refusal:
    if audit.kind != "Event" or not audit.api_version.startswith("audit.k8s.io/"):
        return _NOT_AUDIT
    if not is_timestamp(audit.stage_timestamp):
        return Refusal(Skip.BROKEN_AUDIT, "stageTimestamp is not an RFC 3339 time")
    if _may_be_deep(raw) and depth(raw) > MAX_DEPTH:
        return _TOO_DEEP
    return AuditEvent(raw, audit.audit_id, audit.stage, cluster, category)


def _may_be_deep(raw: bytes) -> bool:
    """Whether an event has brackets enough to be too deep; most have not, and need no scan."""
    lists = raw.count(b"[")
    # A level that is an object takes five bytes at least: {"":…}
    return lists + len(raw) // 5 >= MAX_DEPTH and lists + raw.count(b"{") >= MAX_DEPTH


def summarise(event: AuditEvent) -> dict[str, str]:
    """Who did what to which object, for a log line and for filters: never the whole content.

    Has only ``audit_id`` and ``stage`` where msgspec cannot read the rest: it has other types than
    an audit event has, or lone surrogates.
    """
    try:
        known = _summary.decode(event.raw)
    except msgspec.DecodeError:
        return {"audit_id": event.audit_id, "stage": event.stage}
    ref = known.object_ref
    return {
        "audit_id": event.audit_id,
        "stage": event.stage,
        "user": known.user.username,
        "verb": known.verb,
        "resource": f"{ref.resource}/{ref.subresource}" if ref.subresource else ref.resource,
        "namespace": ref.namespace,
        "name": ref.name,
    }
