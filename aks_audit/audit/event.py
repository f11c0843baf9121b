"""Is this log line an audit event that Falco will take? Judged by content. Pure.

The category of a record cannot be trusted (Azure/AKS #4750 has audit events
under ``kube-apiserver``), so every log is looked at, whatever its category.
What is accepted is one valid JSON object in UTF-8, byte for byte as it came:
Falco drops a whole batch over one item that its parser does not take.
"""

import re
from datetime import datetime
from functools import lru_cache

import msgspec

from ..model import AuditEvent, Skip

BOM = b"\xef\xbb\xbf"
"""What some writers put before UTF-8; it is no part of the text."""

Refused = tuple[Skip, str]
"""Why something is no audit event to forward: the reason, and a detail for people."""

MAX_DEPTH = 298
"""Falco parses with valyala/fastjson, which takes 300 levels (``MaxDepth``), a
scalar being a level of its own; an EventList adds two around the event. One
deeper event would cost its batch."""


class _Audit(msgspec.Struct, gc=False, rename={"audit_id": "auditID", "api_version": "apiVersion"}):
    """What Falco needs of an event (plugin k8saudit: kind, stageTimestamp), and its identity."""

    kind: str
    audit_id: str
    stageTimestamp: str  # noqa: N815 - the wire's name
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

# In the API server's order, and in the alphabet's.
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


def begins_like_audit(raw: bytes) -> bool:
    """Whether a text begins as an audit event does."""
    return _BEGINS_LIKE_AUDIT.match(raw) is not None


def _looks_like_audit(raw: bytes) -> bool:
    return (
        begins_like_audit(raw)
        or _NAMES_AUDIT_ID.search(raw) is not None
        # Cut before it could show what it was to be.
        or any(beginning.startswith(b"".join(raw[:64].split())) for beginning in _BEGINNINGS)
    )


def judge(log: bytes, cluster: str = "", category: str = "") -> AuditEvent | Refused:
    """Judge one log line (UTF-8) by its content: an audit event, or why not.

    The cluster and the category are only put into the event.
    """
    raw = log.strip()
    if not raw.startswith(b"{"):
        raw = raw.removeprefix(BOM).lstrip()
        if not raw.startswith(b"{"):
            return (Skip.KLOG if raw else Skip.EMPTY), ""
    try:
        audit = _decode(raw)
    except msgspec.ValidationError as error:
        # Valid up to here: JSON of other types, so no audit event, or a broken one.
        return (Skip.BROKEN_AUDIT if _claims_audit(raw) else Skip.NOT_AUDIT), str(error)
    except msgspec.DecodeError as error:
        return (Skip.BROKEN_AUDIT if _looks_like_audit(raw) else Skip.NOT_AUDIT), str(error)
    except RecursionError:
        return Skip.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels"
    return _accept(raw, audit, cluster, category)


def accept_salvaged(raw: bytes, cluster: str, category: str) -> AuditEvent | Refused:
    """Judge an event that was rebuilt: it has to meet the same demands."""
    verdict = judge(raw, cluster, category)
    if isinstance(verdict, AuditEvent):
        return msgspec.structs.replace(verdict, salvaged=True)
    return Skip.BROKEN_AUDIT, verdict[1]


def _decode(raw: bytes) -> _Audit:
    try:
        return _audit.decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = mend(raw)
        if mended == raw:
            raise
        return _audit.decode(mended)


_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_SECOND = len("2026-03-01T08:00:00")


def is_timestamp(text: str) -> bool:
    """Whether Go's ``time.RFC3339`` takes it, and so Falco: a capital T and Z, a colon."""
    second, _, fraction = text.partition(".")
    if fraction[:-1].isdigit() and fraction[-1] == "Z" and fraction.isascii():
        return len(second) == _SECOND and _is_second(second)  # as the API server writes it
    return _is_rfc_3339(text)


@lru_cache(maxsize=1024)
def _is_second(text: str) -> bool:
    return _is_rfc_3339(text + "Z")


def _is_rfc_3339(text: str) -> bool:
    if _RFC_3339.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        return False
    return True


def _accept(raw: bytes, audit: _Audit, cluster: str, category: str) -> AuditEvent | Refused:
    if audit.kind != "Event" or not audit.api_version.startswith("audit.k8s.io/"):
        return Skip.NOT_AUDIT, ""
    if not is_timestamp(audit.stageTimestamp):
        return Skip.BROKEN_AUDIT, "stageTimestamp is no RFC 3339 time"
    if _may_be_deep(raw) and _depth(raw) > MAX_DEPTH:
        return Skip.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels"
    return AuditEvent(raw, audit.audit_id, audit.stage, cluster, category)


def _may_be_deep(raw: bytes) -> bool:
    """Bound the depth from above, at little cost."""
    lists = raw.count(b"[")
    # A level that is an object takes five bytes at least: {"":…}
    return lists + len(raw) // 5 >= MAX_DEPTH and lists + raw.count(b"{") >= MAX_DEPTH


def _claims_audit(raw: bytes) -> bool:
    return _looks_like_audit(raw) and b"audit.k8s.io" in raw


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]",:]+', re.DOTALL)


def _depth(raw: bytes) -> int:
    """How many values of a valid JSON text lie inside one another at most."""
    deepest = depth = 0
    for match in _TOKEN.finditer(raw):
        token = match.group()
        if token in (b"}", b"]"):
            depth -= 1
        else:
            deepest = max(deepest, depth + 1)
            depth += token in (b"{", b"[")
    return deepest


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|.)",
    re.DOTALL,
)


def mend(text: bytes) -> bytes:
    """Replace the escapes of lone surrogates in a JSON text by that of U+FFFD, as Go reads them.

    msgspec refuses them although they are JSON (RFC 8259, section 8.2).
    """
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match["lone"] else match[0], text)


def summarise(event: AuditEvent) -> dict[str, str]:
    """Who did what to which object, for a log line: never the event's whole content."""
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
