"""What Falco's k8saudit plugin does with a body that it has accepted. Pure, without I/O.

The rules are those of falcosecurity/plugins, `plugins/k8saudit/pkg/k8saudit/source.go`
(`ParseAuditEventsJSON`, `parseSingleAuditEventJSON`) over the parser valyala/fastjson. The
stand-in is stricter in three points, where Falco would take what a forwarder should never have
sent: the JSON has to be valid (RFC 8259; fastjson is lenient) and UTF-8, and the items of an
EventList need `kind: "Event"`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec

from testkit.falco.jsontext import MAX_DEPTH, depth, may_be_deep, mend_surrogates, originals

MAX_EVENT_BYTES = 262_144
"""The plugin's default `maxEventSize`."""

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:[.,]\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
"""As Go's `time.Parse(time.RFC3339Nano, …)` accepts it: upper-case T and Z, colon in the offset."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that Falco would check against its rules."""

    audit_id: str
    stage: str
    raw: bytes

    @property
    def key(self) -> tuple[str, str]:
        """What makes an audit event unique: one request passes several stages."""
        return self.audit_id, self.stage


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something that was answered with 200 and then dropped."""

    reason: str
    data: bytes
    whole_body: bool = False


class _Unrecognised(Exception):
    """A value that is not an Event, EventList or array: the whole body is dropped."""


class _TooDeep(Exception):
    """The body is nested deeper than Falco's parser follows."""


class _Body(msgspec.Struct, gc=False):
    kind: str = ""
    items: list[msgspec.Raw] | None = None


class _Item(msgspec.Struct, gc=False):
    kind: str
    stage_timestamp: str = msgspec.field(name="stageTimestamp")
    audit_id: str = msgspec.field(name="auditID", default="")
    stage: str = ""


class _LooseItem(msgspec.Struct, gc=False):
    """An item with a field of an unexpected type."""

    kind: Any = None
    stage_timestamp: Any = msgspec.field(name="stageTimestamp", default=None)
    audit_id: Any = msgspec.field(name="auditID", default="")
    stage: Any = ""


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_item = msgspec.json.Decoder(_Item).decode
_decode_loose_item = msgspec.json.Decoder(_LooseItem).decode


def apply_rules(body: bytes) -> list[Accepted | Dropped]:
    """Return what Falco does with each event of a body, in order."""
    try:
        body.decode()
        return [_apply_to_item(parsed, raw) for parsed, raw in _read_items(body)]
    except _Unrecognised as error:
        return [Dropped(str(error), body, whole_body=True)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _TooDeep) as error:
        return [Dropped(f"unparsable: {error}", body, whole_body=True)]


def count_items(body: bytes) -> int:
    """Count the events of a valid body without parsing it.

    Inside a JSON string the quote before the colon would be escaped, so only keys are counted.
    """
    return body.count(b'"stageTimestamp":')


def _read_items(body: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Find the items of a body: each as it is to be parsed, and as it arrived."""
    try:
        mended = body
        items = [bytes(item) for item in _items(body)]
    except msgspec.DecodeError:
        mended = mend_surrogates(body)
        if mended == body:
            raise
        items = [bytes(item) for item in _items(mended)]
    if body.lstrip().startswith(b"[") or any(map(may_be_deep, items)):
        _check_depth(body)
    return zip(items, items if mended is body else originals(items, mended, body), strict=True)


def _items(value: bytes | msgspec.Raw) -> Iterator[bytes | msgspec.Raw]:
    if bytes(value).lstrip().startswith(b"["):
        for element in _decode_array(value):
            yield from _items(element)
        return
    try:
        body = _decode_body(value)
    except msgspec.ValidationError as error:
        raise _Unrecognised(f"not an audit event: {error}") from error
    if body.kind == "EventList" and body.items is not None:
        yield from body.items
    elif body.kind == "Event":
        yield value
    else:
        raise _Unrecognised(f"not an audit event: kind {body.kind!r}")


def _check_depth(body: bytes) -> None:
    levels = depth(body)
    if levels > MAX_DEPTH:
        raise _TooDeep(f"nested {levels} levels deep, more than {MAX_DEPTH}")


def _apply_to_item(parsed: bytes, raw: bytes) -> Accepted | Dropped:
    try:
        item = _decode_item(parsed)
    except msgspec.ValidationError:
        return _apply_to_odd_item(parsed, raw)
    problem = _problem(item.kind, item.stage_timestamp, len(raw))
    return Dropped(problem, raw) if problem else Accepted(item.audit_id, item.stage, raw)


def _apply_to_odd_item(parsed: bytes, raw: bytes) -> Accepted | Dropped:
    """Decode an item that has unexpected types: Falco checks the type of two fields only."""
    try:
        item = _decode_loose_item(parsed)
    except msgspec.ValidationError:
        return Dropped("item is not an object", raw)
    problem = _problem(item.kind, item.stage_timestamp, len(raw))
    return Dropped(problem, raw) if problem else Accepted(str(item.audit_id), str(item.stage), raw)


def _problem(kind: object, stage_timestamp: object, size: int) -> str | None:
    if kind != "Event":
        return "kind is not Event"
    if not isinstance(stage_timestamp, str) or not is_rfc3339(stage_timestamp):
        return "stageTimestamp is not RFC 3339"
    if size > MAX_EVENT_BYTES:
        return "event larger than 262144 bytes"
    return None


def is_rfc3339(text: str) -> bool:
    """Tell whether Go would parse the text as RFC 3339."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return False
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return False
    return True
