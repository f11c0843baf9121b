"""The log lines in the body of a hub event, in every form that was seen. Pure.

AKS ships the audit log in the Azure diagnostic envelope, ``{"records": […]}``;
each record's ``properties.log`` is one line of a control-plane component's log.
Three readings, each more patient and slower than the one before it:

1. the whole envelope, typed: what AKS sends nearly always;
2. record by record, for bodies in which some record has other types: one
   broken record never costs its neighbours; and for the other forms that were
   seen: a single record, a bare audit event or EventList, a line of JSON each;
3. the same with what is no UTF-8 replaced, and the escapes of lone surrogates,
   which msgspec refuses although they are JSON (RFC 8259, section 8.2); or what
   is whole of a body that was cut.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from pydantic_core import from_json

from ..model import Skip
from .event import BOM, Refused, begins_like_audit, mend
from .jsontext import elements

CATEGORY_MAX = 128
RESOURCE_ID_MAX = 1024
"""Characters. What records say of themselves is remembered, in caches and as labels; Azure's own
names are shorter than this."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a record says that its log comes from."""

    category: str = ""
    cluster: str = ""


class _Properties(msgspec.Struct, gc=False):
    log: str


class _Record(msgspec.Struct, gc=False, rename={"resource_id": "resourceId"}):
    properties: _Properties
    category: str = ""
    resource_id: str = ""
    time: str = ""


class _Envelope(msgspec.Struct, gc=False):
    records: list[_Record]


_NOTHING = msgspec.Raw()


class _RawEnvelope(msgspec.Struct, gc=False):
    records: list[msgspec.Raw]


class _RawRecord(msgspec.Struct, gc=False, rename={"resource_id": "resourceId"}):
    properties: msgspec.Raw = _NOTHING
    category: Any = ""
    resource_id: Any = ""
    time: Any = ""


class _RawProperties(msgspec.Struct, gc=False):
    log: msgspec.Raw = _NOTHING


class _Bare(msgspec.Struct, gc=False):
    """A body that is no envelope, to see what else it is."""

    kind: Any = ""
    items: list[msgspec.Raw] | None = None
    properties: msgspec.Raw = _NOTHING


_envelope = msgspec.json.Decoder(_Envelope)
_raw_envelope = msgspec.json.Decoder(_RawEnvelope)
_raw_record = msgspec.json.Decoder(_RawRecord)
_raw_properties = msgspec.json.Decoder(_RawProperties)
_bare = msgspec.json.Decoder(_Bare)
_string = msgspec.json.Decoder(str)
_ABSENT = (b"", b"null")
_BEGINS_ENVELOPE = re.compile(rb'\s*\{\s*"records"\s*:\s*\[')
_LOG = re.compile(rb'"log"\s*:')

NOWHERE = Origin()

Reading = tuple[bytes, Refused | None, Origin, str]
"""A log line, or the bytes that should have held one and what is wrong with them; its origin, and
the record's time."""


def cluster_name(resource_id: str) -> str:
    """The cluster's name of an Azure resource id, in lower case: Azure's names know no case.

    >>> cluster_name("/SUBSCRIPTIONS/X/…/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/PROD")
    'prod'
    """
    if len(resource_id) > RESOURCE_ID_MAX:
        return ""
    _, found, rest = resource_id.lower().partition("/managedclusters/")
    return rest.partition("/")[0] if found else ""


def _origin(category: str, resource_id: str) -> Origin:
    if len(category) + len(resource_id) > RESOURCE_ID_MAX:  # not to be remembered
        return Origin(category[:CATEGORY_MAX], cluster_name(resource_id))
    return _known_origin(category, resource_id)


@lru_cache(maxsize=4096)
def _known_origin(category: str, resource_id: str) -> Origin:
    return Origin(category[:CATEGORY_MAX], cluster_name(resource_id))


def read(body: bytes) -> Iterable[Reading]:
    """The log lines of a body. Never raises: what cannot be read comes with the reason."""
    try:
        records = _envelope.decode(body).records
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_patiently(body)
    return [
        (
            record.properties.log.encode(),
            None,
            _origin(record.category, record.resource_id),
            record.time,
        )
        for record in records
    ]


def _read_patiently(body: bytes) -> Iterator[Reading]:
    """Read a body record by record."""
    body = body.removeprefix(BOM)
    if not body.strip():
        yield body, (Skip.EMPTY, "the body is empty"), NOWHERE, ""
        return
    try:
        records = _raw_envelope.decode(body).records
    except msgspec.ValidationError:
        yield from _read_bare(body)
    except (msgspec.DecodeError, RecursionError) as error:
        yield from _read_malformed(body, str(error))
    else:
        for record in records:
            yield _read_record(bytes(record))


def _read_record(record: bytes) -> Reading:
    """Read a record, which may be malformed."""
    origin, time = NOWHERE, ""
    text = record = _as_utf8(record)
    try:
        known = _raw_record.decode(record)
        origin, time = _claims(known.category, known.resource_id, known.time)
        text = bytes(known.properties)
        if text.startswith(b'"'):  # seen in the wild: an object in a JSON string
            text = mend(_string.decode(text).encode())
        line = text if text in _ABSENT else bytes(_raw_properties.decode(text).log)
        if line in _ABSENT:
            return record, (Skip.NO_LOG, ""), origin, time
        return (
            (_string.decode(line).encode() if line.startswith(b'"') else line),
            None,
            origin,
            time,
        )
    except msgspec.DecodeError as error:
        return record, (Skip.BROKEN_RECORD, str(error)), origin, time
    except RecursionError:
        deep = _find_log(text)
        refused = None if deep else (Skip.TOO_DEEP, "")
        return deep or record, refused, origin, time


def _as_utf8(text: bytes) -> bytes:
    """A text with what is no UTF-8 in it replaced by U+FFFD, as Go reads it.

    A line that is cut after so many bytes may end within a character.
    """
    return text.decode(errors="replace").encode()


def _claims(category: object, resource_id: object, time: object) -> tuple[Origin, str]:
    """What a record says of itself, as far as it is text."""

    def text(value: object) -> str:
        return value if isinstance(value, str) else ""

    return _origin(text(category), text(resource_id)), text(time)


def _read_bare(body: bytes) -> Iterator[Reading]:
    """Read a body of valid JSON that is no envelope."""
    try:
        body.decode()
        known = _bare.decode(body)
    except msgspec.ValidationError:
        known = _Bare()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The envelope's decoder gave up on what it missed before it came to what is malformed.
        yield from _read_malformed(body, str(error))
        return
    if known.kind == "EventList" and known.items is not None:
        for item in known.items:
            yield bytes(item), None, NOWHERE, ""
    elif known.kind == "Event":
        yield body, None, NOWHERE, ""
    elif known.properties:
        yield _read_record(body)
    else:
        yield body, (Skip.NOT_ENVELOPE, 'the body is no envelope {"records": […]}'), NOWHERE, ""


def _read_malformed(body: bytes, wrong: str) -> Iterator[Reading]:
    """Read a body that is not one JSON text."""
    mended = mend(_as_utf8(body))
    if mended != body:
        for raw, refused, origin, time in _read_patiently(mended):
            # What cannot be read is kept as it came; what can is read as it was mended.
            yield (body if refused and raw == mended else raw), refused, origin, time
        return
    lines = [line for line in body.split(b"\n") if line.strip()]
    if _are_documents(lines):
        for line in lines:
            yield from _read_patiently(line)
    elif begins_like_audit(body):
        yield body, None, NOWHERE, ""  # a bare audit event that was cut
    else:
        yield from _read_cut(body, wrong)


def _are_documents(lines: list[bytes]) -> bool:
    """Whether these are lines of JSON, and not one JSON text that goes over lines."""
    if len(lines) < 2 or lines[0].rstrip().endswith((b"[", b",")):  # noqa: PLR2004 - one and more
        return False
    return all(line.lstrip().startswith(b"{") for line in lines)


def _read_cut(body: bytes, wrong: str) -> Iterator[Reading]:
    """Read the records of an envelope that ends too early, or in which one is malformed."""
    envelope = _BEGINS_ENVELOPE.match(body)
    if envelope is None:
        yield body, (Skip.BROKEN_BODY, wrong), NOWHERE, ""
        return
    for record, whole in elements(body, envelope.end()):
        if whole:
            yield _read_record(record)
        else:
            yield from _read_cut_record(record)
    # What lies behind the cut is lost: the body is kept as evidence.
    yield body, (Skip.CUT_BODY, wrong), NOWHERE, ""


def _read_cut_record(record: bytes) -> Iterator[Reading]:
    """Read a record that ends too early, if it came as far as its log."""
    log = _find_log(record)
    try:
        known = from_json(record, allow_partial=True)
    except ValueError:
        known = {}
    if log and isinstance(known, dict):
        claims = _claims(*(known.get(key) for key in ("category", "resourceId", "time")))
        yield log, None, *claims


def _find_log(text: bytes) -> bytes:
    """The log of a record that no parser takes, as far as it goes; empty where there is none."""
    key = _LOG.search(text)
    log, _ = next(elements(text, key.end()), (b"", True)) if key else (b"", True)
    if not log.startswith(b'"'):
        return log
    try:
        known: list[str] = from_json(b"[" + log, allow_partial="trailing-strings")
    except ValueError:
        return b""
    return known[0].encode() if known else b""
