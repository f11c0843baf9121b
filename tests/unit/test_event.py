import json
from typing import Any

import pytest

from aks_audit.audit.event import MAX_DEPTH, classify, summarise
from aks_audit.model import AuditEvent, Skip
from tests.helpers import audit_event, nested


def reason(log: bytes) -> Skip:
    result = classify(log)
    assert isinstance(result, tuple)
    return result[0]


def test_an_event_is_taken_without_the_white_space_around_it() -> None:
    assert classify(b"\r\n \t" + audit_event("a", "Panic") + b" \n") == AuditEvent(
        audit_event("a", "Panic"), "a", "Panic"
    )


def test_a_byte_order_mark_is_not_a_part_of_the_event() -> None:
    assert classify(b"\xef\xbb\xbf " + audit_event() + b"\n") == classify(audit_event())


def test_white_space_inside_stays() -> None:
    raw = json.dumps(json.loads(audit_event()), indent=2).encode()
    assert classify(raw + b"\n") == AuditEvent(raw, "a", "ResponseComplete")


@pytest.mark.parametrize("version", ["audit.k8s.io/v1", "audit.k8s.io/v1beta1"])
def test_any_version_of_the_audit_api_is_taken(version: str) -> None:
    assert isinstance(classify(audit_event(apiVersion=version)), AuditEvent)


@pytest.mark.parametrize("version", ["v1", "events.k8s.io/v1", "xaudit.k8s.io/v1", "audit.k8s.io"])
def test_events_of_other_apis_are_not_audit_events(version: str) -> None:
    assert reason(audit_event(apiVersion=version)) is Skip.NOT_AUDIT


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01T10:00:00.1Z",
        "2026-03-01T10:00:00.123456789Z",
        "2026-03-01T10:00:00+05:30",
        "2024-02-29T23:59:59.999999-11:00",
    ],
)
def test_stage_timestamps_are_rfc_3339(stamp: str) -> None:
    assert isinstance(classify(audit_event(stageTimestamp=stamp)), AuditEvent)


@pytest.mark.parametrize(
    "stamp", ["", "2026-03-01", "2026-02-29T00:00:00Z", "2026-03-01T10:00:00", 0, None, {}]
)
def test_other_stage_timestamps_are_faults(stamp: object) -> None:
    assert reason(audit_event(stageTimestamp=stamp)) is Skip.BROKEN_AUDIT


def test_every_cut_of_an_event_is_a_fault() -> None:
    """Whatever is left of an audit event, beyond its first field, says that it was one."""
    whole = audit_event(requestObject={"a": ["b", 1.5, None, True, "\\ü"]})
    begun = whole.index(b",")
    for end in range(begun, len(whole)):
        assert reason(whole[:end]) is Skip.BROKEN_AUDIT, whole[:end]


@pytest.mark.parametrize("first", ["kind", "apiVersion", "auditID", "level"])
def test_a_cut_within_the_first_field_is_a_fault(first: str) -> None:
    known = json.loads(audit_event())
    raw = json.dumps({first: known[first], **known}, separators=(",", ":")).encode()
    for end in range(1, raw.index(b",")):
        assert reason(raw[:end]) is Skip.BROKEN_AUDIT


def test_a_cut_within_the_annotations_of_an_event_in_alphabetical_order_is_a_fault() -> None:
    raw = b'{"annotations":{"authorization.k8s.io/decision":"allow"},"apiVersion":"audit.k8s.io/v1"'
    for end in range(1, len(raw)):
        assert reason(raw[:end]) is Skip.BROKEN_AUDIT


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "\ufeff", "\ufeff\n"],
)
def test_nothing_is_empty(text: str) -> None:
    assert reason(text.encode()) is Skip.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        "I0109 21:24:54.475483       1 static_autoscaler.go:548] No unschedulable pods",
        'E0109 21:24:54.475483       1 x.go:1] {"kind":"Event"}',
        "[1]",
        '"text"',
        "null",
    ],
)
def test_text_is_klog(text: str) -> None:
    assert reason(text.encode()) is Skip.KLOG


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "\ufeff{}",
        '{"x',
        '{"a":',
        '{"level":"info","ts":1}',
        '{"kind":"Pod"}',
        "{bad}",
        '{"\\ud800":1}',
    ],
)
def test_objects_of_others_are_not_faults(text: str) -> None:
    assert reason(text.encode()) is Skip.NOT_AUDIT


@pytest.mark.parametrize("tail", ["NaN", "Infinity", "01", "1.", "-", "+1", "'a'", "tru", '"\t"'])
def test_what_is_not_json_is_not_an_event(tail: str) -> None:
    assert reason(audit_event()[:-1] + f',"n":{tail}}}'.encode()) is Skip.BROKEN_AUDIT


def test_lone_surrogates_do_not_hide_other_faults() -> None:
    raw = audit_event(note="?").replace(b"?", b"\\ud800")
    assert isinstance(classify(raw), AuditEvent)
    assert reason(raw[:-1]) is Skip.BROKEN_AUDIT
    assert reason(raw[:-1] + b',"n":NaN}') is Skip.BROKEN_AUDIT
    assert reason(raw.replace(b"stageTimestamp", b"timestamp")) is Skip.BROKEN_AUDIT
    assert reason(raw.replace(b"audit.k8s.io", b"x")) is Skip.NOT_AUDIT


def test_a_surrogate_in_the_identity_does_no_harm() -> None:
    result = classify(audit_event("?").replace(b"?", b"\\ud800"))
    assert isinstance(result, AuditEvent)
    assert summarise(result)["audit_id"] == result.audit_id


def test_the_depth_limit_leaves_room_for_the_list() -> None:
    assert isinstance(classify(nested(MAX_DEPTH, b"{}")[:-1] + b"}"), tuple)
    assert isinstance(classify(nested(MAX_DEPTH - 1, b"{}")), AuditEvent)
    assert reason(nested(MAX_DEPTH)) is Skip.TOO_DEEP
    assert isinstance(classify(nested(MAX_DEPTH - 1)), AuditEvent)


def test_strings_do_not_count_as_depth() -> None:
    text = '[{"' * 400
    assert isinstance(classify(audit_event(note=text, many=[[]] * 300)), AuditEvent)


def test_long_numbers_are_numbers() -> None:
    raw = audit_event(note="?")[:-1] + b',"n":' + b"9" * 10_000 + b"}"
    assert isinstance(classify(raw), AuditEvent)
    assert isinstance(classify(raw.replace(b"?", b"\\udfff")), AuditEvent)


def test_a_summary_tells_who_did_what_to_which_object() -> None:
    raw = audit_event(
        "a",
        verb="create",
        user={"username": "kubernetes-admin", "groups": ["system:masters"]},
        objectRef={"resource": "pods", "subresource": "exec", "namespace": "n", "name": "p"},
        requestObject={"secret": "sEcReT"},
    )
    result = classify(raw)
    assert isinstance(result, AuditEvent)
    assert summarise(result) == {
        "audit_id": "a",
        "stage": "ResponseComplete",
        "user": "kubernetes-admin",
        "verb": "create",
        "resource": "pods/exec",
        "namespace": "n",
        "name": "p",
    }


@pytest.mark.parametrize(
    "fields", [{}, {"user": None}, {"verb": 7}, {"objectRef": []}, {"user": {"username": 1}}]
)
def test_a_summary_never_fails(fields: dict[str, Any]) -> None:
    result = classify(audit_event(**fields))
    assert isinstance(result, AuditEvent)
    assert summarise(result)["audit_id"] == "a"
