"""Audit events for property tests: those of the demo, generated ones, and real ones if at hand."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from testkit.streams.traffic import SHAPES
from tests.helpers import audit_event

DATA = Path(__file__).parents[2] / "shared" / "data" / "k8s_audit"
"""Real audit events, where they are at hand."""
TIME = "2026-03-01T10:00:00.7654321Z"

# Lone surrogates and control characters among them: json.dumps escapes them.
texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["\ud800", "\x00", "😀", '"\\/', "\n", "{[", "ünï", "\u2028"]
)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | floats
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
annotations = st.dictionaries(texts | st.just("cluster_name"), texts, max_size=3)


def documents(text: str) -> list[str]:
    """The JSON documents of a file, each as it stands; lists of events give theirs."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        known, end = decoder.raw_decode(text, at)
        if known.get("kind") == "EventList":
            found += [json.dumps(item) for item in known["items"]]
        else:
            found.append(text[at:end])
        at = end
    return found


@cache
def real_events() -> tuple[str, ...]:
    """The real audit events, each as it was written; none where they are not at hand."""
    files = sorted(DATA.glob("*.json"))
    return tuple(event for file in files for event in documents(file.read_text()))


@cache
def shaped_events() -> tuple[str, ...]:
    """One audit event of each kind of request that the demo knows."""
    texts = (shape.text(stage) for shape in SHAPES for stage in shape.stages)
    return tuple(text.replace("@began@", TIME).replace("@ended@", TIME) for text in texts)


@st.composite
def generated_events(draw: st.DrawFn) -> dict[str, Any]:
    """An event with an identity, in the API server's order, its objects being anything."""
    event: dict[str, Any] = json.loads(audit_event(draw(texts.filter(bool))))
    timestamp = event.pop("stageTimestamp")
    event["verb"] = draw(st.sampled_from(["get", "create", "ü"]))
    event["user"] = {"username": draw(texts.filter(bool)), "groups": draw(st.lists(texts))}
    event["objectRef"] = {"resource": "pods", "namespace": draw(texts), "subresource": "exec"}
    event |= draw(st.dictionaries(st.sampled_from(["requestObject", "responseObject"]), values))
    event["stageTimestamp"] = timestamp
    if draw(st.booleans()):
        event["annotations"] = draw(annotations | values)
    return event


@st.composite
def raw_events(draw: st.DrawFn) -> bytes:
    """An audit event as some writer may have written it: any order, spacing and escaping."""
    corpus = [*shaped_events(), *real_events()]
    event = draw(generated_events() | st.sampled_from(corpus).map(json.loads))
    style: dict[str, Any] = draw(st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}]))
    order = draw(st.booleans())
    try:
        ascii_only = draw(st.booleans())
        return json.dumps(event, ensure_ascii=ascii_only, sort_keys=order, **style).encode()
    except UnicodeEncodeError:
        return json.dumps(event, sort_keys=order, **style).encode()
