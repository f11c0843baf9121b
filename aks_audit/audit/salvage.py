"""An audit event cut mid-JSON, rebuilt from what is there. Pure.

AKS cuts long log lines at 16 KiB (Azure/AKS #4635) or 32 KB (#4750): the
envelope stays valid, the audit event in it does not. The API server writes who,
what and where first and the objects after that, so a cut costs part of an
object, the timestamps and the annotations, never the verb or the user. Whoever
drops such events hands an attacker a blind spot: pad the request, and nobody
sees it.

What was complete stays as it was; the incomplete tail goes; nothing is made up
but the timestamps, which come from the envelope, and the API server's own mark
for events that lack something, the annotation ``audit.k8s.io/truncated``.

The same goes for events that nest deeper than Falco's parser takes, or whose
numbers no parser takes: a patch is logged as it came, so whoever asks chooses
them. They lose the members of the event that hold such things, as the API
server drops objects that are too large.
"""

import json
from typing import Any

from pydantic_core import from_json

from .event import mend
from .jsontext import elements

TRUNCATED = "audit.k8s.io/truncated"
"""The annotation with which kube-apiserver marks events whose objects it dropped."""

_CUT = "EOF while parsing"
_BEYOND = ("recursion limit exceeded", "number out of range")
"""How the parser tells a text that ends too early, and what is JSON but too much for it: more than
200 levels, more than 4300 digits."""
_WORD = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-."
_WHOLE_WORDS = (b"true", b"false", b"null")


class Unsalvageable(ValueError):  # noqa: N818 - what is left, not what went wrong
    """What is there of the event does not say who did what."""


def salvage(raw: bytes, time: str) -> bytes:
    """Rebuild an audit event from its beginning.

    ``time`` is the moment for the timestamps that are missing, RFC 3339.
    Returns one JSON object. Raises Unsalvageable, also for what is no
    beginning of a JSON object but broken in itself.
    """
    event = _parse(mend(raw.strip()))
    _require_identity(event)
    for timestamp in ("requestReceivedTimestamp", "stageTimestamp"):
        event.setdefault(timestamp, time)
    annotations = event.get("annotations")
    kept = annotations if isinstance(annotations, dict) else {}
    event["annotations"] = {**kept, TRUNCATED: "true"}
    return _encode(event)


def _parse(raw: bytes) -> dict[str, Any]:
    """The complete part of an object that was cut or is beyond a parser."""
    if not raw.startswith(b"{"):
        raise Unsalvageable("no JSON object")
    if not _wrong_with(raw).startswith((_CUT, *_BEYOND)):
        raise Unsalvageable("broken, not cut")
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
    """Leave out a word at the end that may lack letters, or a number that may lack digits.

    Where the end lies inside a string, that string goes anyway.
    """
    stem = raw.rstrip(_WORD)
    return raw if raw[len(stem) :] in _WHOLE_WORDS else stem


def _read(raw: bytes) -> dict[str, Any]:
    """The complete part of an object. Raises ValueError where it cannot be written again."""
    event: dict[str, Any] = from_json(raw, allow_inf_nan=False, allow_partial=True)
    _encode(event)
    return event


def _read_by_member(raw: bytes) -> dict[str, Any]:
    """The complete part of an object, without the members that are beyond the parser."""
    event: dict[str, Any] = {}
    for member, _ in elements(raw, 1):
        try:
            event |= _read(b"{" + member)
        except ValueError:
            continue
    return event


def _encode(event: dict[str, Any]) -> bytes:
    # 1e400 is JSON, but infinite to Python: it must not be written as a word that is none.
    text = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _require_identity(event: dict[str, Any]) -> None:
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
        raise Unsalvageable("no audit event")
