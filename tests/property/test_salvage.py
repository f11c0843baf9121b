"""What is rebuilt of a cut audit event is what was there, and Falco takes it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aks_audit.audit.event import classify
from aks_audit.audit.jsontext import replace_lone_surrogates
from aks_audit.audit.salvage import TRUNCATED, Unsalvageable, salvage
from aks_audit.audit.unpack import unpack
from aks_audit.model import FAULTS, AuditEvent
from testkit.falco.rules import Accepted, apply_rules
from tests.corpus import TIME, generated_events, raw_events, real_events, shaped_events
from tests.helpers import envelope, examples, record

ADDED = {("requestReceivedTimestamp",), ("stageTimestamp",)}
Path = tuple[str | int, ...]


def leaves(known: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Each scalar and each empty container, and where it is."""
    if isinstance(known, dict) and known:
        for key, value in known.items():
            yield from leaves(value, (*path, key))
    elif isinstance(known, list) and known:
        for index, value in enumerate(known):
            yield from leaves(value, (*path, index))
    else:
        yield path, known


def at(known: Any, path: Path) -> Any:
    for step in path:
        known = known[step]
    return known


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def check_rebuilt(rebuilt: bytes, original: Any) -> None:
    """Nothing in it is made up, and Falco takes it."""
    (verdict,) = apply_rules(rebuilt)
    assert isinstance(verdict, Accepted)
    event = json.loads(rebuilt)
    assert event["annotations"].pop(TRUNCATED) == "true"
    for path, value in leaves(event):
        if path in ADDED and value == TIME:
            continue
        if value in ({}, []) and not isinstance(value, str):  # what was in it may be cut off
            assert path == ("annotations",) or isinstance(at(original, path), type(value))
        else:
            assert same(value, at(original, path)), path


def check_cut(raw: bytes, end: int, original: Any) -> bool:
    """Whether a cut event can be rebuilt."""
    try:
        rebuilt = salvage(raw[:end], TIME)
    except Unsalvageable:
        return False
    check_rebuilt(rebuilt, original)
    return True


def as_go_reads(raw: bytes) -> Any:
    return json.loads(replace_lone_surrogates(raw))


@examples(400)
@given(raw_events(), st.data(), st.sampled_from([b"", b"\n", b" \r\n"]))
def test_a_cut_event_is_rebuilt_from_what_is_there(
    raw: bytes, data: st.DataObject, end_of_line: bytes
) -> None:
    end = data.draw(st.integers(0, len(raw) - 1))
    check_cut(raw[:end] + end_of_line, len(raw), as_go_reads(raw))


@examples(60)
@given(generated_events())
@example(
    {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "auditID": "a",
        "verb": "get",
        "user": {"username": "u"},
        "o": [True, False, None, 12, -3.25e-7, '\\"\n\u00fc😀\ud800x', {"": []}],
    }
)
def test_every_cut_of_an_event_behind_the_identity_is_rebuilt(event: dict[str, Any]) -> None:
    for ascii_only in (True, False):
        try:
            raw = json.dumps(event, ensure_ascii=ascii_only, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            continue
        user = json.dumps(event["user"]["username"], ensure_ascii=ascii_only).encode()
        key = b'"username":'
        named = raw.index(key + user, raw.index(b'"user":')) + len(key + user)
        for end in range(len(raw)):
            # Cuts within a character of UTF-8 are among them.
            assert check_cut(raw, end, as_go_reads(raw)) == (end >= named), raw[:end]


@pytest.mark.parametrize("alphabetical", [False, True])
def test_every_cut_of_the_corpus_is_rebuilt_or_kept(*, alphabetical: bool) -> None:
    rebuilt = 0
    for text in {*shaped_events(), *real_events()}:
        original = json.loads(text)
        raw = json.dumps(original, sort_keys=alphabetical, separators=(",", ":")).encode()
        step = max(1, len(raw) // 150)
        rebuilt += sum(check_cut(raw, end, original) for end in range(0, len(raw), step))
    assert rebuilt > (0 if alphabetical else 3000)  # the verb comes last in the alphabet


@examples(200)
@given(raw_events(), st.data())
def test_a_cut_log_is_forwarded_or_kept_never_skipped(raw: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(raw) - 1))
    text = raw[:end].decode(errors="replace")
    for log in (text, text + "\n"):
        events, skipped = unpack(envelope(record(log) | {"time": TIME}))
        assert len(events) + len(skipped) == 1
        if events:
            assert events[0].salvaged
            check_rebuilt(events[0].raw, as_go_reads(raw))
        elif raw.startswith((b'{"kind":', b'{"annotations":')):
            assert skipped[0].reason in FAULTS


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        (b'"privileged":tru', {}),
        (b'"privileged":true', {"privileged": True}),
        (b'"replicas":20', {}),
        (b'"replicas":20\n', {}),
        (b'"replicas":20 ', {}),
        (b'"replicas":20,', {"replicas": 20}),
        (b'"replicas":-', {}),
        (b'"ratio":1.5e', {}),
        (b'"ratio":1.5e+', {}),
        (b'"image":"ngin', {}),
        (b'"image":"n\\', {}),
        (b'"image":"n\\u00', {}),
        (b'"image":"n\\ud83d', {}),
        (b'"image":"n\\ud83d\\', {}),
        (b'"image":"n\\ud83d\\ude', {}),
        (b'"image":"n\xf0\x9f\x98', {}),
        (b'"image":"nginx"', {"image": "nginx"}),
        (b'"image":"\\ud800","a":1,"b', {"image": "\ufffd", "a": 1}),
        (b'"nu', {}),
        (b'"null":', {}),
        (b'"a":nul', {}),
        (b'"a":null', {"a": None}),
        (b'"a":[1,[2,{"b":3},4', {"a": [1, [2, {"b": 3}]]}),
        (b'"a":[1,[2,{"b":3', {"a": [1, [2, {}]]}),
    ],
)
def test_nothing_is_made_of_half_a_value(cut: bytes, kept: dict[str, Any]) -> None:
    head = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","verb":"get",'
    head += b'"user":{"username":"u"},"requestObject":{"spec":{'
    event = json.loads(salvage(head + cut, TIME))
    assert event["requestObject"]["spec"] == kept
    assert event["stageTimestamp"] == event["requestReceivedTimestamp"] == TIME
    assert event["annotations"] == {TRUNCATED: "true"}


WHO = b'"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","verb":"patch",'
WHO += b'"user":{"username":"u"}'
WHEN = b'"stageTimestamp":"2026-03-01T09:00:00Z","annotations":{"a":"b"}'


@pytest.mark.parametrize(
    "beyond",
    [
        b'{"a":' * 250 + b"1" + b"}" * 250,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 2000 + b'"\\"]"' + b"]" * 2000,
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_what_nests_beyond_the_parser_costs_its_member_only(beyond: bytes, *, cut: bool) -> None:
    raw = b"{" + WHO + b',"requestObject":' + beyond + b',"responseObject":{"x":1},' + WHEN + b"}"
    log = raw[:-4] if cut else raw
    if isinstance(classify(log), AuditEvent):
        return  # Falco's parser goes deeper than ours
    event = json.loads(salvage(log, TIME))
    assert "requestObject" not in event
    assert event["responseObject"] == {"x": 1}
    assert event["stageTimestamp"] == "2026-03-01T09:00:00Z"
    assert event["annotations"] == {TRUNCATED: "true"} | ({} if cut else {"a": "b"})
    if not cut:  # the envelope may be beyond a parser, and is read all the same
        (taken,), _ = unpack(b'{"records":[{"properties":{"log":' + raw + b"}}]}")
        assert taken.salvaged


@pytest.mark.parametrize("number", [b"9" * 5000, b"1e400", b"-1e999"])
def test_numbers_that_no_parser_takes_cost_their_member_only(number: bytes) -> None:
    raw = b"{" + WHO + b',"requestObject":{"n":' + number + b'},"responseObject":{"x":1},"y":"'
    event = json.loads(salvage(raw, TIME))
    assert "requestObject" not in event
    assert event["responseObject"] == {"x": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}",
        b"[",
        b"null",
        b'"text',
        b'{"kind":"Event"',
        b"{" + WHO + b"}",
        b"{" + WHO + b"}}",
        b"{" + WHO + b"," + WHO,
        b"{" + WHO + b',"n":NaN,"m":1',
        b"{" + WHO + b',"n":01,"m":1',
        b"{" + WHO + b",'n':1",
        b"{" + WHO.replace(b'"Event"', b'"Status"') + b',"a":',
        b"{" + WHO.replace(b'"u"', b"1") + b',"a":',
        b"{" + WHO.replace(b'"a"', b'""') + b',"a":',
        b"{" + WHO.replace(b'{"username":"u"}', b'"u"') + b',"a":',
    ],
)
def test_what_does_not_begin_an_event_with_an_identity_is_not_rebuilt(raw: bytes) -> None:
    if raw == b"{" + WHO + b"," + WHO:
        assert json.loads(salvage(raw, TIME))["auditID"] == "a"  # a key that comes twice
        return
    with pytest.raises(Unsalvageable):
        salvage(raw, TIME)
