import json
from typing import Any

import pytest

from testkit.falco.rules import (
    MAX_EVENT_BYTES,
    Accepted,
    Dropped,
    apply_rules,
    count_items,
    is_rfc3339,
)

TIME = "2026-03-01T10:00:00.123456Z"


def event(audit_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {
        "kind": "Event",
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "stageTimestamp": TIME,
    } | fields


def event_list(*items: Any) -> dict[str, Any]:
    return {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": list(items)}


def ids(body: Any) -> list[str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [verdict.audit_id for verdict in apply_rules(data) if isinstance(verdict, Accepted)]


def reasons(body: Any) -> list[str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [verdict.reason for verdict in apply_rules(data) if isinstance(verdict, Dropped)]


def test_one_event_is_accepted_with_its_exact_bytes() -> None:
    body = b' { "stageTimestamp" : "2026-03-01T10:00:00Z", "kind":"Event", "auditID":"\\u0041" } '
    assert apply_rules(body) == [Accepted("A", "", body)]


def test_items_of_a_list_keep_their_exact_bytes() -> None:
    item = b'{ "kind":"Event","auditID":"a","stage":"Panic","stageTimestamp":"%s" }' % TIME.encode()
    body = b'{"items":[\n' + item + b" , " + item + b'],"kind":"EventList"}'
    assert apply_rules(body) == [Accepted("a", "Panic", item)] * 2
    assert count_items(body) == 2


@pytest.mark.parametrize("space", [b"", b" \r\n\t" * 50])
def test_an_array_of_events_and_lists_is_flattened(space: bytes) -> None:
    nested = [event("a"), event_list(event("b")), [event("c")]]
    assert ids(space + json.dumps(nested).encode()) == ["a", "b", "c"]


def test_a_bad_item_of_a_list_loses_only_itself() -> None:
    odd: list[Any] = [
        None,
        7,
        "text",
        [],
        {},
        event(kind="Pod"),
        event(kind=None),
        event(stageTimestamp="yesterday"),
        event(stageTimestamp=1),
        event(pad="x" * MAX_EVENT_BYTES),
    ]
    body = event_list(event("first"), *odd, event("last"))
    assert ids(body) == ["first", "last"]
    assert len(reasons(body)) == len(odd)


def test_an_unrecognised_element_takes_the_whole_array_with_it() -> None:
    assert ids([event("a"), {"kind": "Pod"}]) == []
    assert ids([event("a"), 5]) == []
    assert ids([event("a"), event("b", stageTimestamp="?"), event("c")]) == ["a", "c"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"null",
        b"5",
        b"{}",
        b'"text"',
        b'{"kind":"Event"',
        json.dumps(event()).encode() * 2,
        json.dumps(event()).encode() + b"\n,",
        b'{"kind":"EventList"}',
        b'{"kind":"EventList","items":{}}',
        b'{"kind":"EventList","items":null}',
        b'{"kind":5}',
        b"[" * 100_000,
        json.dumps(event(user="ü"), ensure_ascii=False).encode("latin-1"),
    ],
)
def test_a_body_that_is_not_an_event_is_dropped_whole(body: bytes) -> None:
    (verdict,) = apply_rules(body)
    assert isinstance(verdict, Dropped)
    assert verdict.whole_body


def test_one_invalid_item_makes_the_whole_body_unparsable() -> None:
    good = json.dumps(event()).encode()
    for bad in (good[:-1], b'{"log":tru}', b'{"a":01}', b'"\n"', b"NaN", b""):
        body = b'{"kind":"EventList","items":[' + good + b"," + bad + b"]}"
        (verdict,) = apply_rules(body)
        assert isinstance(verdict, Dropped), bad
        assert verdict.reason.startswith("unparsable"), bad


def test_the_size_limit_counts_bytes_of_the_event() -> None:
    pad = MAX_EVENT_BYTES - len(json.dumps(event(pad="")))
    assert ids(event(pad="x" * pad)) == ["a"]
    assert reasons(event(pad="x" * (pad + 1))) == ["event larger than 262144 bytes"]


def test_an_event_is_taken_whatever_the_type_of_its_audit_id() -> None:
    assert ids(event_list(event(auditID=5), event(stage=None), event())) == ["5", "a", "a"]


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-03-01T10:00:00Z", True),
        ("2026-03-01T10:00:00.1Z", True),
        ("2026-03-01T10:00:00.123456789+05:30", True),
        ("2024-02-29T23:59:59-00:00", True),
        ("2026-02-29T10:00:00Z", False),
        ("2026-03-01T24:00:00Z", False),
        ("2026-03-01T10:00:60Z", False),
        ("2026-03-01 10:00:00Z", False),
        ("2026-03-01t10:00:00z", False),
        ("2026-03-01T10:00:00", False),
        ("2026-03-01T10:00:00+0100", False),
        ("2026-03-01T10:00:00.Z", False),
        ("2026-03-01T10:00Z", False),
        (" 2026-03-01T10:00:00Z", False),
        ("2026-03-01T10:00:00Z\n", False),
        ("", False),
    ],
)
def test_times_are_read_as_go_reads_them(text: str, valid: bool) -> None:  # noqa: FBT001
    assert is_rfc3339(text) is valid


def nested(levels: int, inner: str) -> bytes:
    """An event of which the containers are so many levels deep, the event itself included."""
    pad = "[" * (levels - 1) + inner + "]" * (levels - 1)
    return json.dumps(event(pad="@")).replace('"@"', pad).encode()


@pytest.mark.parametrize(("levels", "inner"), [(297, "1"), (298, "")])
def test_one_level_too_many_makes_the_whole_body_unparsable(levels: int, inner: str) -> None:
    def body(item: bytes) -> bytes:
        return b'{"kind":"EventList","items":[' + json.dumps(event()).encode() + b"," + item + b"]}"

    assert ids(body(nested(levels, inner))) == ["a", "a"]
    assert ids(body(nested(levels + 1, inner))) == []
    assert reasons(body(nested(levels + 1, inner))) == [
        "unparsable: nested 301 levels deep, more than 300"
    ]
    assert ids(nested(levels + 2, inner)) == ["a"]
    assert ids(nested(levels + 3, inner)) == []


def test_brackets_inside_strings_are_no_levels() -> None:
    assert ids(event(pad='[{"' * 1000)) == ["a"]


def test_escapes_of_lone_surrogates_are_valid_and_kept_as_they_came() -> None:
    items = [
        json.dumps(event("a")).encode(),
        json.dumps(event("b", user="\ud800", name="\\ud800 \U0001f600")).encode(),
        json.dumps(event("c")).encode(),
    ]
    body = b'{"kind":"EventList","items":[' + b" , ".join(items) + b"]}"
    assert [verdict.raw for verdict in apply_rules(body) if isinstance(verdict, Accepted)] == items
    assert apply_rules(items[1]) == [Accepted("b", "ResponseComplete", items[1])]
    assert ids(items[1] + b"}") == []
