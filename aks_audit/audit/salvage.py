"""Rebuild an audit event that was cut within its JSON, from what is there.

AKS cuts long log lines at 16 KiB (Azure/AKS #4635) or 32 KB (#4750): the envelope stays valid, the
audit event in it does not. The API server writes who, what and where first, and the objects after
that. So a cut costs a part of an object, the timestamps and the annotations, but the verb and the
user only where what comes before them is very long. A forwarder that drops such events gives an
attacker a blind spot: pad the request, and nobody sees it.

What was complete stays as it was, and the incomplete end is removed. Only two things are added: the
missing timestamps, which come from the envelope, and the annotation ``audit.k8s.io/truncated``,
with which the API server itself marks events that lack something.

The same goes for events that nest deeper than Falco's parser takes, or whose numbers no parser
takes. A patch is logged as it came, so its sender chooses what is in it. Such an event loses the
members that hold these things, as the API server drops objects that are too large.
"""

import json
from typing import Any

from pydantic_core import from_json

from .jsontext import elements, replace_lone_surrogates

TRUNCATED = "audit.k8s.io/truncated"
"""The annotation with which kube-apiserver marks events whose objects it dropped."""

_CUT = "EOF while parsing"
_BEYOND = ("recursion limit exceeded", "number out of range")
"""How the parser's messages begin for a text that ends too early, and for JSON that is too much for
it: more than 200 levels, more than 4300 digits."""
_WORD = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-."
_WHOLE_WORDS = (b"true", b"false", b"null")


class Unsalvageable(ValueError):
    """The event cannot be rebuilt: it is not cut but malformed, or does not say who did what."""


def salvage(raw: bytes, time: str) -> bytes:
    """Rebuild an audit event from its beginning; gives one JSON object.

    Args:
        raw: the beginning of the event, or a whole event that is beyond a parser.
        time: for the timestamps that are missing, in RFC 3339.

    Raises:
        Unsalvageable: it is not the beginning of a JSON object, or names no user, verb or auditID.
    """
    event = _parse(replace_lone_surrogates(raw.strip()))
    _require_identity(event)
    for timestamp in ("requestReceivedTimestamp", "stageTimestamp"):
        event.setdefault(timestamp, time)
    annotations = event.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    event["annotations"] = {**kept, TRUNCATED: "true"}
    return _encode(event)


def _parse(raw: bytes) -> dict[str, Any]:
    """Read the complete part of an object that was cut or is beyond the parser."""
    if not raw.startswith(b"{"):
        raise Unsalvageable("not a JSON object")
    if not _wrong_with(raw).startswith((_CUT, *_BEYOND)):
        raise Unsalvageable("malformed, not cut")
    raw = _without_last_word(raw)
    try:
        return _read(raw)
    except ValueError:
        return _read_by_member(raw)


def _wrong_with(raw: bytes) -> str:
    try:
        from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        return str(error)
    return ""


def _without_last_word(raw: bytes) -> bytes:
    """Remove a word at the end that may lack letters, or a number that may lack digits.

    Where the end lies inside a string, the parser removes that string in any case.
    """
    stem = raw.rstrip(_WORD)
    return raw if raw[len(stem) :] in _WHOLE_WORDS else stem


def _read(raw: bytes) -> dict[str, Any]:
    """Read the complete part of an object. Raises ValueError where it cannot be written again."""
    event: dict[str, Any] = from_json(raw, allow_inf_nan=False, allow_partial=True)
    _encode(event)
    return event


def _read_by_member(raw: bytes) -> dict[str, Any]:
    """Read the complete part of an object, without the members that are beyond the parser."""
    event: dict[str, Any] = {}
    for member in elements(raw, 1):
        try:
            event |= _read(b"{" + member.text)
        except ValueError:
            continue
    return event


def _encode(event: dict[str, Any]) -> bytes:
    # 1e400 is JSON, but infinite in Python, which would write it as Infinity: that is not JSON.
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _require_identity(event: dict[str, Any]) -> None:
    """Raise Unsalvageable unless it is an audit event that says who did what."""
    user = event.get("user")
    named = {
        "auditID": event.get("auditID"),
        "verb": event.get("verb"),
        "user": user.get("username") if isinstance(user, dict) else None,
    }
    missing = [name for name, value in named.items() if not (value and isinstance(value, str))]
    if missing:
        raise Unsalvageable(f"cut before {', '.join(missing)}")
    if event.get("kind") != "Event":
        raise Unsalvageable("not an audit event")
