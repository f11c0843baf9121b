import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from aks_audit.audit.unpack import unpack
from aks_audit.model import AuditEvent, Skip
from testkit.falco.rules import Dropped, apply_rules
from tests.corpus import texts, values
from tests.helpers import audit_event, envelope, examples, make_items, posted, record

extras = st.dictionaries(
    st.sampled_from(["verb", "user", "requestObject", "responseObject", "annotations"]) | texts,
    values,
    max_size=4,
)


def as_event(audit_id: str, stage: str, more: dict[str, Any]) -> dict[str, Any]:
    return json.loads(audit_event(audit_id, stage)) | {  # type: ignore[no-any-return]
        key: value for key, value in more.items() if key not in json.loads(audit_event())
    }


audit_events = st.builds(as_event, texts, texts, extras)
core_events = st.builds(lambda more: more | {"kind": "Event", "apiVersion": "v1"}, extras)
klog = st.builds("I0109 21:24:54.475483       1 x.go:548] {}".format, texts)
spaces = st.text(" \t\r\n", max_size=3)


@st.composite
def logs(draw: st.DrawFn) -> str:
    known = draw(audit_events | core_events | extras)
    style: dict[str, Any] = draw(st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}]))
    # Characters over ASCII as themselves, unless they have no UTF-8.
    text = json.dumps(known, ensure_ascii=draw(st.booleans()), **style)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(known, **style)
    return draw(spaces) + text + draw(spaces)


def plain(known: Any) -> Any:
    """Without lone surrogates, which are mended in the envelope itself."""
    return json.loads(json.dumps(known).replace("\\ud", "\\u0"))


@st.composite
def records(draw: st.DrawFn) -> Any:
    log = draw(logs() | klog | st.none() | (audit_events | core_events).map(plain))
    properties: Any = {"pod": draw(texts), "log": log, "stream": "stdout"}
    if draw(st.integers(0, 3)) == 0:
        properties = json.dumps(properties)
    whole = {"category": draw(texts), "properties": properties}
    return draw(st.sampled_from([whole, whole, whole, {"category": "x"}, {"properties": None}]))


envelopes = st.lists(records(), max_size=6).map(lambda some: json.dumps({"records": some}).encode())
BOM = "\ufeff"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body in any of the forms that were seen, with any number of audit events."""
    some = draw(st.lists(records(), min_size=1, max_size=4))
    events = draw(st.lists(audit_events.map(plain), min_size=1, max_size=4))
    event_list = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": events}
    documents: list[Any] = draw(
        st.sampled_from([[{"records": some}], [some[0]], some, [event_list], [events[0]], events])
        | st.just([{"records": some}, some[0], event_list, events[0]])
    )
    text = draw(st.sampled_from(["\n", "\r\n", " \n\n"])).join(map(json.dumps, documents))
    return (draw(st.sampled_from(["", BOM])) + text + draw(spaces)).encode()


def reference(body: bytes) -> list[Any]:
    """What the audit events of a body are, in the fewest words."""
    text, found = body.decode("utf-8-sig"), []
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [json.loads(line) for line in text.split("\n") if line.strip()]
    for document in documents:
        for one in document.get("records", document.get("items", [document])):
            properties = one.get("properties") or {}
            properties = json.loads(properties) if isinstance(properties, str) else properties
            log = one if "kind" in one else properties.get("log")
            try:
                known = json.loads(log) if isinstance(log, str) else log
            except ValueError:
                continue
            if known and known.get("kind") == "Event" and "audit.k8s.io/" in known["apiVersion"]:
                found.append(known)
    return found


def read(event: AuditEvent) -> Any:
    return json.loads(event.raw)


@examples(200)
@given(envelopes)
def test_unpacking_is_what_the_reference_does(body: bytes) -> None:
    events, skipped = unpack(body)
    assert list(map(read, events)) == reference(body)
    assert len(events) + len(skipped) == len(json.loads(body)["records"])


@examples(200)
@given(bodies())
def test_unpacking_is_what_the_reference_does_in_every_form(body: bytes) -> None:
    assert list(map(read, unpack(body)[0])) == reference(body)


@examples(200)
@given(st.lists(logs(), max_size=5))
def test_what_is_taken_is_the_log_byte_for_byte(lines: list[str]) -> None:
    events, skipped = unpack(envelope(*map(record, lines)))
    refused = {skip.record for skip in skipped}
    taken = [line for number, line in enumerate(lines) if number not in refused]
    assert [event.raw for event in events] == [line.strip().encode() for line in taken]


@examples(200)
@given(st.lists(audit_events, min_size=1, max_size=4), values, st.integers(0, 4))
def test_a_broken_record_costs_none_of_its_neighbours(
    known: list[dict[str, Any]], broken: Any, at: int
) -> None:
    lines = [json.dumps(one) for one in known]
    all_records: list[object] = [record(line) for line in lines]
    # A lone surrogate in the envelope itself is mended, which is not to show here.
    all_records.insert(at, plain(broken))
    events, _ = unpack(envelope(*all_records))
    assert [event.raw for event in events] == [line.encode() for line in lines]


def check_any(body: bytes) -> None:
    """What holds for whatever bytes there are."""
    events, skipped = unpack(body)
    if not events and not skipped:
        known = json.loads(body.decode("utf-8-sig"))
        assert known.get("records", known.get("items")) == []
    for skip in skipped:
        assert isinstance(skip.reason, Skip)
        assert skip.record >= 0
    for event in events:
        known = json.loads(event.raw.decode(), parse_int=float)
        assert known["kind"] == "Event"
        assert known.get("apiVersion", "audit.k8s.io/v1").startswith("audit.k8s.io/")
        assert event.raw == event.raw.strip()
    if len(events) > 1:
        # Falco parses the list as a whole: no event may cost the others.
        assert len(apply_rules(posted(make_items([e.raw for e in events])[0]))) == len(events)
        assert not any(
            isinstance(verdict, Dropped) and verdict.whole_body
            for verdict in apply_rules(posted(make_items([e.raw for e in events])[0]))
        )


@examples(200)
@given(st.binary(max_size=200))
@example(b"\xff")
@example(b'{"records":[{"properties":{"log":"\xff"}}]}')
@example(b'{"records":[{"properties":{"log":"\\ud800"}}, 7, {"properties":"\\udfff"}]}')
def test_any_bytes_are_survived(body: bytes) -> None:
    check_any(body)


SCRAPS = rb'{ } [ ] " \ \u \ud800 \\ , : null 0 - e9 NaN "log": "records": "kind":"Pod",'.split()
bits = st.sampled_from([*SCRAPS, b"\x00", b"\xff", b"\xc3", b" ", b""])


@examples(200)
@given(st.data(), envelopes | st.lists(logs()).map(lambda some: envelope(*map(record, some))))
def test_any_damage_to_an_envelope_is_survived(data: st.DataObject, body: bytes) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 20)))
        body = body[:start] + data.draw(bits | st.binary(max_size=3)) + body[end:]
    check_any(body)


@examples(200)
@given(audit_events.map(json.dumps), st.data())
def test_every_cut_of_a_log_is_survived_and_costs_itself_only(
    log: str, data: st.DataObject
) -> None:
    cut = log[: data.draw(st.integers(0, len(log) - 1))]
    events, skipped = unpack(envelope(record(cut), record(log)))
    assert events[-1].raw == log.encode()
    assert [event.salvaged for event in events[:-1]] == [True] * (1 - len(skipped))
    assert [skip.record for skip in skipped] == [0] * (2 - len(events))


@examples(200)
@given(st.lists(audit_events.map(plain), min_size=1, max_size=4), st.booleans(), st.data())
def test_a_cut_envelope_gives_the_records_before_the_cut(
    known: list[dict[str, Any]],
    as_objects: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    lines = [json.dumps(one, separators=(",", ":")) for one in known]
    logs = lines if as_objects else [json.dumps(line) for line in lines]
    body = '{"records":['
    ends = []
    for number, log in enumerate(logs):
        body += f'{"," if number else ""}{{"category":"kube-audit","properties":{{"log":{log}}}}}'
        ends.append(len(body.encode()))
    end = data.draw(st.integers(1, ends[-1]))
    events, skipped = unpack(body.encode()[:end])
    whole = [event.raw.decode() for event in events if not event.salvaged]
    assert whole[: sum(at <= end for at in ends)] == lines[: sum(at <= end for at in ends)]
    assert len(whole) <= 1 + sum(at <= end for at in ends)
    assert set(whole) <= set(lines)  # the last one may be whole where its record is not
    assert skipped[-1].reason is (
        Skip.CUT_BODY if end >= len('{"records":[') else skipped[-1].reason
    )
    assert skipped[-1].raw == body.encode()[:end]
