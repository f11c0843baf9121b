"""The log lines in the body of a hub event, in every form that was seen.

AKS ships the audit log in the Azure diagnostic envelope, ``{"records": […]}``. Each record has in
its ``properties.log`` one line of the log of a control-plane component. A body is read in up to
three ways; each accepts more than the one before it, and is slower:

1. the whole envelope, typed: what AKS sends nearly always;
2. record by record, so that a record with other types costs none of its neighbours. Here the other
   forms are read as well: a single record, an audit event or an EventList without an envelope,
   lines of JSON;
3. the same after two replacements: bytes that are not UTF-8, and the escapes of lone surrogates,
   which msgspec refuses although they are JSON (RFC 8259, section 8.2). If the body is still not
   JSON, the records in it that are whole.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec
from pydantic_core import from_json

from ..model import Skip
from .event import Refusal, begins_like_audit
from .jsontext import BOM, elements, replace_lone_surrogates

CATEGORY_MAX = 128
RESOURCE_ID_MAX = 1024
"""Characters. Categories and resource ids are kept in a cache and become labels of metrics, so
their length is bounded; Azure's own are shorter than this."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a log comes from, as its record says."""

    category: str = ""
    cluster: str = ""


NO_ORIGIN = Origin()


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """A log line, or bytes in which none can be found."""

    text: bytes
    """The log line; where there is a refusal, the record or body instead."""
    origin: Origin = NO_ORIGIN
    time: str = ""
    """The record's time, as it came."""
    refusal: Refusal | None = None
    """Why the record lacks a log line."""


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


class _OtherForm(msgspec.Struct, gc=False):
    """A body that is not an envelope, to see what else it is."""

    kind: Any = ""
    items: list[msgspec.Raw] | None = None
    properties: msgspec.Raw = _NOTHING


_envelope = msgspec.json.Decoder(_Envelope)
_raw_envelope = msgspec.json.Decoder(_RawEnvelope)
_raw_record = msgspec.json.Decoder(_RawRecord)
_raw_properties = msgspec.json.Decoder(_RawProperties)
_other_form = msgspec.json.Decoder(_OtherForm)
_string = msgspec.json.Decoder(str)
_ABSENT = (b"", b"null")
_BEGINS_ENVELOPE = re.compile(rb'\s*\{\s*"records"\s*:\s*\[')
_LOG = re.compile(rb'"log"\s*:')


def cluster_name(resource_id: str) -> str:
    """The cluster's name in an Azure resource id, in lower case: Azure ignores the case of names.

    >>> cluster_name("/SUBSCRIPTIONS/X/…/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/PROD")
    'prod'
    """
    if len(resource_id) > RESOURCE_ID_MAX:
        return ""
    _, found, rest = resource_id.lower().partition("/managedclusters/")
    return rest.partition("/")[0] if found else ""


def _origin(category: str, resource_id: str) -> Origin:
    if len(category) + len(resource_id) > RESOURCE_ID_MAX:  # too long for the cache
        return Origin(category[:CATEGORY_MAX], cluster_name(resource_id))
    return _known_origin(category, resource_id)


@lru_cache(maxsize=4096)
def _known_origin(category: str, resource_id: str) -> Origin:
    return Origin(category[:CATEGORY_MAX], cluster_name(resource_id))


def log_lines(body: bytes) -> Iterable[LogLine]:
    """The log lines of a body, in order. Never raises: what cannot be read comes with a refusal."""
    try:
        records = _envelope.decode(body).records
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_by_record(body)
    return (
        LogLine(
            record.properties.log.encode(),
            _origin(record.category, record.resource_id),
            record.time,
        )
        for record in records
    )


def _read_by_record(body: bytes) -> Iterator[LogLine]:
    body = body.removeprefix(BOM)
    if not body.strip():
        yield LogLine(body, refusal=Refusal(Skip.EMPTY, "the body is empty"))
        return
    try:
        records = _raw_envelope.decode(body).records
    except msgspec.ValidationError:
        yield from _read_other_form(body)
    except (msgspec.DecodeError, RecursionError) as error:
        yield from _read_malformed(body, str(error))
    else:
        for record in records:
            yield _read_record(bytes(record))


def _read_record(record: bytes) -> LogLine:
    """Read a record, which may be malformed."""
    origin, time = NO_ORIGIN, ""
    text = record = _as_utf8(record)
    try:
        known = _raw_record.decode(record)
        origin, time = _origin_and_time(known.category, known.resource_id, known.time)
        text = bytes(known.properties)
        if text.startswith(b'"'):  # seen in the wild: an object in a JSON string
            text = replace_lone_surrogates(_string.decode(text).encode())
        log = text if text in _ABSENT else bytes(_raw_properties.decode(text).log)
        if log in _ABSENT:
            return LogLine(record, origin, time, Refusal(Skip.NO_LOG))
        return LogLine(_string.decode(log).encode() if log[:1] == b'"' else log, origin, time)
    except msgspec.DecodeError as error:
        return LogLine(record, origin, time, Refusal(Skip.BROKEN_RECORD, str(error)))
    except RecursionError:
        log = _find_log(text)
        refusal = None if log else Refusal(Skip.TOO_DEEP)
        return LogLine(log or record, origin, time, refusal)


def _as_utf8(text: bytes) -> bytes:
    """Replace the bytes that are not UTF-8 by U+FFFD, as Go's decoders read them.

    A log line that is cut at a number of bytes may end within a character.
    """
    return text.decode(errors="replace").encode()


def _origin_and_time(category: object, resource_id: object, time: object) -> tuple[Origin, str]:
    """Read a record's own fields of any type; those that are not text count as empty."""

    def text(value: object) -> str:
        return value if isinstance(value, str) else ""

    return _origin(text(category), text(resource_id)), text(time)


def _read_other_form(body: bytes) -> Iterator[LogLine]:
    """Read a body that is not an envelope, though probably JSON."""
    try:
        body.decode()
        known = _other_form.decode(body)
    except msgspec.ValidationError:
        known = _OtherForm()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The decoder of the envelope stopped at a wrong type, before it came to what is malformed.
        yield from _read_malformed(body, str(error))
        return
    if known.kind == "EventList" and known.items is not None:
        for item in known.items:
            yield LogLine(bytes(item))
    elif known.kind == "Event":
        yield LogLine(body)
    elif known.properties:
        yield _read_record(body)
    else:
        wrong = 'the body is not an envelope {"records": […]}'
        yield LogLine(body, refusal=Refusal(Skip.NOT_ENVELOPE, wrong))


def _read_malformed(body: bytes, wrong: str) -> Iterator[LogLine]:
    """Read a body that is not one JSON text."""
    replaced = replace_lone_surrogates(_as_utf8(body))
    if replaced != body:
        for line in _read_by_record(replaced):
            if line.refusal and line.text == replaced:  # a dead letter holds the body as it came
                yield msgspec.structs.replace(line, text=body)
            else:
                yield line
        return
    documents = [line for line in body.split(b"\n") if line.strip()]
    if _are_documents(documents):
        for document in documents:
            yield from _read_by_record(document)
    elif begins_like_audit(body):
        yield LogLine(body)  # an audit event without an envelope that was cut
    else:
        yield from _read_cut(body, wrong)


def _are_documents(lines: list[bytes]) -> bool:
    """Whether these are lines of JSON, rather than one JSON text that goes over several lines."""
    if len(lines) <= 1 or lines[0].rstrip().endswith((b"[", b",")):
        return False
    return all(line.lstrip().startswith(b"{") for line in lines)


def _read_cut(body: bytes, wrong: str) -> Iterator[LogLine]:
    """Read the records of an envelope that ends too early, or in which a record is malformed."""
    envelope = _BEGINS_ENVELOPE.match(body)
    if envelope is None:
        yield LogLine(body, refusal=Refusal(Skip.BROKEN_BODY, wrong))
        return
    for record, whole in elements(body, envelope.end()):
        if whole:
            yield _read_record(record)
        else:
            yield from _read_cut_record(record)
    # What lies behind the cut is lost: the body is kept as evidence.
    yield LogLine(body, refusal=Refusal(Skip.CUT_BODY, wrong))


def _read_cut_record(record: bytes) -> Iterator[LogLine]:
    """Read a record that ends too early, if its log has at least begun."""
    log = _find_log(record)
    try:
        known = from_json(record, allow_partial=True)
    except ValueError:
        known = {}
    if log and isinstance(known, dict):
        fields = (known.get(key) for key in ("category", "resourceId", "time"))
        yield LogLine(log, *_origin_and_time(*fields))


def _find_log(text: bytes) -> bytes:
    """The log of a record that no parser takes, as far as it goes; empty where there is none."""
    key = _LOG.search(text)
    element = next(elements(text, key.end()), None) if key else None
    log = element.text if element else b""
    if not log.startswith(b'"'):
        return log
    try:
        known: list[str] = from_json(b"[" + log, allow_partial="trailing-strings")
    except ValueError:
        return b""
    return known[0].encode() if known else b""
