import json
from pathlib import Path

import pytest

from aks_audit.audit.unpack import FAULTS_MAX, RECORDS_MAX, unpack, unpack_in_steps
from aks_audit.model import FAULTS, AuditEvent, Skip
from testkit.falco.rules import Dropped, apply_rules
from tests.corpus import documents
from tests.helpers import audit_event, envelope, nested, record

DATA = Path(__file__).parents[2].parent / "shared" / "data"
KLOG = "I0109 21:24:54.475483       1 static_autoscaler.go:548] No unschedulable pods"


def raws(body: bytes) -> list[bytes]:
    events, skipped = unpack(body)
    assert skipped == []
    return [event.raw for event in events]


def reasons(body: bytes) -> list[tuple[int, Skip]]:
    return [(skip.record, skip.reason) for skip in unpack(body)[1]]


def test_a_log_string_is_taken_byte_for_byte() -> None:
    log = '{ "kind":"Event",\n "apiVersion" : "audit.k8s.io/v1", "auditID":"a", "stage":"Panic",'
    log += '"stageTimestamp":"2026-03-01T10:00:00Z", "n":1.50, "s":"\\u00fc\\/ü😀" }'
    events, skipped = unpack(envelope(record(f"  {log}\n")))
    assert events == [AuditEvent(log.encode(), "a", "Panic", category="kube-audit")]
    assert skipped == []


def test_events_keep_their_order() -> None:
    logs = [audit_event(str(number)) for number in range(50)]
    assert raws(envelope(*(record(log.decode()) for log in logs))) == logs


def test_a_log_object_is_taken_byte_for_byte() -> None:
    log = audit_event()[:-1] + b', "n" : [1.50, 2e3 ,"\\u00fc"] }'
    body = b'{"records":[{"category":"kube-audit","properties":{"log": ' + log + b"}}]}"
    assert raws(body) == [log]


@pytest.mark.parametrize("log", [audit_event().decode() + "\n", json.loads(audit_event())])
def test_properties_may_be_a_json_string(log: object) -> None:
    one = record(log) | {"properties": json.dumps({"log": log}, separators=(",", ":"))}
    assert raws(envelope(one)) == [audit_event()]


@pytest.mark.parametrize("category", ["kube-audit", "kube-audit-admin", "kube-apiserver", "x", ""])
def test_the_category_does_not_matter(category: str) -> None:
    assert raws(envelope(record(audit_event().decode(), category))) == [audit_event()]
    assert unpack(envelope(record(KLOG, category)))[1][0].category == category


@pytest.mark.parametrize("category", [None, 7, ["kube-audit"], {}])
def test_a_category_of_another_type_costs_nothing(category: object) -> None:
    assert raws(envelope(record(audit_event().decode()) | {"category": category})) == [
        audit_event()
    ]


@pytest.mark.parametrize(
    "stage", ["ResponseComplete", "ResponseStarted", "RequestReceived", "Panic"]
)
def test_every_stage_is_taken(stage: str) -> None:
    events, _ = unpack(envelope(record(audit_event("a", stage).decode())))
    assert [(event.audit_id, event.stage) for event in events] == [("a", stage)]


def test_an_event_without_an_api_version_is_taken() -> None:
    known = json.loads(audit_event())
    del known["apiVersion"]
    assert len(unpack(envelope(record(json.dumps(known))))[0]) == 1


CORE_EVENT = '{"kind":"Event","apiVersion":"v1","metadata":{},"reason":"Pulled"}'
BROKEN: list[tuple[object, Skip]] = [
    (None, Skip.BROKEN_RECORD),
    (7, Skip.BROKEN_RECORD),
    ("text", Skip.BROKEN_RECORD),
    ([], Skip.BROKEN_RECORD),
    ({}, Skip.NO_LOG),
    ({"properties": None}, Skip.NO_LOG),
    ({"properties": 7}, Skip.BROKEN_RECORD),
    ({"properties": []}, Skip.BROKEN_RECORD),
    ({"properties": "text"}, Skip.BROKEN_RECORD),
    ({"properties": ""}, Skip.NO_LOG),
    ({"properties": "null"}, Skip.NO_LOG),
    ({"properties": {}}, Skip.NO_LOG),
    ({"properties": {"log": None}}, Skip.NO_LOG),
    ({"properties": {"log": ""}}, Skip.EMPTY),
    ({"properties": {"log": " \n"}}, Skip.EMPTY),
    ({"properties": {"log": 7}}, Skip.KLOG),
    ({"properties": {"log": [audit_event().decode()]}}, Skip.KLOG),
    (record(KLOG), Skip.KLOG),
    (record("null"), Skip.KLOG),
    (record("{}"), Skip.NOT_AUDIT),
    (record({}), Skip.NOT_AUDIT),
    (record('{"level":"info","msg":"x"}'), Skip.NOT_AUDIT),
    (record(CORE_EVENT), Skip.NOT_AUDIT),
    (record('{"kind":"Event","auditID":"a","apiVersion":"v1"}'), Skip.NOT_AUDIT),
    (record(audit_event().decode().replace("audit.k8s.io/v1", "v1")), Skip.NOT_AUDIT),
    (record(audit_event().decode().replace('"Event"', '"Policy"')), Skip.NOT_AUDIT),
    (record(audit_event().decode()[:-30]), Skip.BROKEN_AUDIT),
    (record(audit_event().decode() + "}"), Skip.BROKEN_AUDIT),
    (record(audit_event().decode() * 2), Skip.BROKEN_AUDIT),
    (record(audit_event(stageTimestamp=None).decode()), Skip.BROKEN_AUDIT),
    (record(audit_event(stageTimestamp="yesterday").decode()), Skip.BROKEN_AUDIT),
    (record(audit_event(stageTimestamp="2026-03-01T10:00:00").decode()), Skip.BROKEN_AUDIT),
    (record(audit_event(auditID=7).decode()), Skip.BROKEN_AUDIT),
    (record(audit_event(note="\x00").decode().replace("\\u0000", "\x00")), Skip.BROKEN_AUDIT),
    (record(nested(299).decode()), Skip.TOO_DEEP),
    (record(nested(100_000).decode()), Skip.TOO_DEEP),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_a_broken_record_costs_none_of_its_neighbours(broken: object, reason: Skip) -> None:
    before, after = audit_event("before"), audit_event("after")
    body = envelope(record(before.decode()), broken, record(after.decode()))
    events, skipped = unpack(body)
    assert [event.raw for event in events] == [before, after]
    assert [(skip.record, skip.reason) for skip in skipped] == [(1, reason)]


def test_all_broken_records_together_are_told_one_by_one() -> None:
    broken = [one for one, _ in BROKEN]
    assert reasons(envelope(*broken)) == list(enumerate(reason for _, reason in BROKEN))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Skip.EMPTY),
        (b" \r\n", Skip.EMPTY),
        (b"no json", Skip.BROKEN_BODY),
        (KLOG.encode(), Skip.BROKEN_BODY),
        (envelope()[:-1], Skip.CUT_BODY),
        (envelope()[:-2], Skip.CUT_BODY),
        (envelope()[:-3], Skip.BROKEN_BODY),
        (b"\xff" + envelope(), Skip.BROKEN_BODY),
        (envelope().decode().encode("utf-16"), Skip.BROKEN_BODY),
        (b'{"x":' * 100_000, Skip.BROKEN_BODY),
        (b'{"records":[' + b"[" * 100_000, Skip.CUT_BODY),
        (b'{"records":' * 100_000, Skip.BROKEN_BODY),
        (b"[" * 100_000 + b"]" * 100_000, Skip.NOT_ENVELOPE),
        (b"null", Skip.NOT_ENVELOPE),
        (b"7", Skip.NOT_ENVELOPE),
        (b'"text"', Skip.NOT_ENVELOPE),
        (b"[]", Skip.NOT_ENVELOPE),
        (b"{}", Skip.NOT_ENVELOPE),
        (b'{"records":null}', Skip.NOT_ENVELOPE),
        (b'{"records":{}}', Skip.NOT_ENVELOPE),
        (b'{"records":"[]"}', Skip.NOT_ENVELOPE),
    ],
)
def test_a_body_that_is_not_an_envelope_is_one_skip(body: bytes, reason: Skip) -> None:
    assert unpack(body)[0] == []
    assert reasons(body) == [(0, reason)]


def test_an_empty_envelope_is_neither() -> None:
    assert unpack(b'{"records":[]}') == ([], [])


def test_what_hides_an_event_is_a_fault_and_says_what_is_wrong() -> None:
    for body in (b"no json", *(envelope(one) for one, reason in BROKEN if reason in FAULTS)):
        assert unpack(body)[1][0].detail


def test_a_detail_holds_nothing_of_the_event() -> None:
    secret = "sEcReT"
    for body in (
        envelope(record(audit_event(requestObject=secret).decode()[:-30])),
        envelope(record(audit_event(stageTimestamp=secret).decode())),
        f'{{"records":[{secret}'.encode(),
        envelope({"properties": secret}),
    ):
        _, skipped = unpack(body)
        assert skipped
        assert secret not in skipped[0].detail


@pytest.mark.parametrize("levels", [100, 297])
def test_deep_events_are_taken_that_falco_takes(levels: int) -> None:
    log = nested(levels)
    assert raws(envelope(record(log.decode()))) == [log]
    assert raws(b'{"records":[{"properties":{"log":' + log + b"}}]}") == [log]


def test_depth_is_counted_as_falco_counts_it() -> None:
    """A scalar is a level of its own to fastjson; an empty object has none inside."""
    for levels in range(294, 301):
        for innermost in (b"1", b'"s"', b"{}", b"[]", b"null", b'{"x":[]}'):
            log = nested(levels, innermost)
            taken = len(unpack(envelope(record(log.decode())))[0]) == 1
            answer = apply_rules(b'{"kind":"EventList","items":[' + log + b"]}")
            assert taken == (not isinstance(answer[0], Dropped)), (levels, innermost)


def test_many_brackets_do_not_count_as_depth() -> None:
    flat = audit_event(many=[{}] * 500, text="[{" * 500 + '\\"')
    assert raws(envelope(record(flat.decode()))) == [flat]


@pytest.mark.parametrize("number", ["9" * 10_000, "-" + "9" * 5000, "1e99999", "0." + "1" * 10_000])
def test_long_numbers_are_numbers(number: str) -> None:
    log = audit_event()[:-1] + f',"n":{number}}}'.encode()
    assert raws(envelope(record(log.decode()))) == [log]
    assert raws(b'{"records":[{"properties":{"log":' + log + b"}}]}") == [log]
    outside = envelope(record(audit_event().decode()))[:-2] + f',{{"n":{number}}}]}}'.encode()
    assert [event.raw for event in unpack(outside)[0]] == [audit_event()]


def test_an_escaped_nul_is_text() -> None:
    log = audit_event(note="a\x00b")
    assert b"\\u0000" in log
    assert raws(envelope(record(log.decode()))) == [log]


@pytest.mark.parametrize("escape", ["\\ud800", "\\uDFFF", "\\udc00\\ud800", "x\\ud83dy"])
def test_lone_surrogates_in_an_event_are_kept_as_they_came(escape: str) -> None:
    log = audit_event(note="?").replace(b'"?"', f'"{escape}"'.encode())
    assert raws(envelope(record(log.decode()))) == [log]


def test_a_lone_surrogate_in_something_else_is_not_a_fault() -> None:
    assert reasons(envelope(record('{"a":"\\ud800"}'))) == [(0, Skip.NOT_AUDIT)]


def test_lone_surrogates_in_the_envelope_become_replacement_characters() -> None:
    """That is how Go's decoders read them; the rest of the event stays as it is."""
    log = audit_event(code=200, ratio=1.5, note="\ufffd\ufffd x 😀", twice=[1.0, 1e3])
    text = json.dumps(log.decode()).replace("\\\\ufffd\\\\ufffd", "\\ud800\\udbff")
    assert "\\ud800" in text
    body = b'{"records":[{"x":"\\udfff"},{"properties":{"log":' + text.encode() + b"}}]}"
    events, _ = unpack(body)
    assert [json.loads(event.raw) for event in events] == [json.loads(log)]


def test_an_object_beside_a_lone_surrogate_is_not_rewritten() -> None:
    log = audit_event(responseStatus={"code": 200}, n=1.50).replace(b'":', b'" : ')
    body = b'{"records":[{"x":"\\ud800"},{"properties":{"log":' + log + b"}}]}"
    assert [event.raw for event in unpack(body)[0]] == [log]


def test_invalid_utf8_costs_nothing_but_itself() -> None:
    """It is read as Go reads it; the event beside it stays as it came."""
    good = audit_event("good", note="ü")
    bad = audit_event("bad", note="?").replace(b"?", b"\xff")
    mended = bad.replace(b"\xff", "\ufffd".encode())
    objects = b'{"records":[{"properties":{"log":%s}},{"properties":{"log":%s}}]}'
    assert raws(objects % (bad, good)) == [mended, good]
    body = envelope(record(bad.replace(b"\xff", b"?").decode()), record(good.decode()))
    assert raws(body.replace(b"?", b"\xff")) == [mended, good]


@pytest.mark.parametrize("end", [None, -1, -40])
def test_a_bare_event_with_invalid_utf8_is_read_as_well(end: int | None) -> None:
    body = audit_event("a", verb="get", user={"username": "?"}, a="", b="x" * 50)[:end]
    (event,), skipped = unpack(body.replace(b"?", b"\xff"), received="2026-03-01T10:00:00Z")
    assert json.loads(event.raw)["user"] == {"username": "\ufffd"}
    assert skipped == []
    (skip,) = unpack(b'{"kind":"Event","apiVersion":"audit.k8s.io/v1\xde,"a')[1]
    assert skip.reason is Skip.BROKEN_AUDIT


def test_the_last_of_duplicate_keys_counts() -> None:
    log = audit_event()[:-1] + b',"auditID":"last"}'
    events, _ = unpack(envelope(record(log.decode())))
    assert events == [AuditEvent(log, "last", "ResponseComplete", category="kube-audit")]
    twice = b'{"records":[],' + envelope(record(log.decode()))[1:]
    assert raws(twice) == [log]


@pytest.mark.skipif(not DATA.exists(), reason="the samples are not here")
def test_the_real_hub_event_unpacks_to_its_22_events() -> None:
    body = (DATA / "eventhub_event_22_records.json").read_bytes()
    expected = [one["properties"]["log"].strip().encode() for one in json.loads(body)["records"]]
    assert len(expected) == 22
    assert raws(body) == expected


@pytest.mark.skipif(not DATA.exists(), reason="the samples are not here")
def test_real_audit_events_are_taken_in_every_shape() -> None:
    logs = [
        line
        for file in sorted((DATA / "k8s_audit").glob("*.json"))
        for line in documents(file.read_text())
    ]
    assert len(logs) > 20
    assert raws(envelope(*map(record, logs))) == [log.encode() for log in logs]
    objects = ",".join(f'{{"properties":{{"log":{log}}}}}' for log in logs)
    assert raws(f'{{"records":[{objects}]}}'.encode()) == [log.encode() for log in logs]


PRODUCTION = (
    "/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/"
)


@pytest.mark.parametrize(
    ("resource_id", "cluster"),
    [
        (PRODUCTION + "PROD-1", "prod-1"),
        (PRODUCTION.lower() + "prod-1", "prod-1"),
        (PRODUCTION + "PROD-1/PROVIDERS/X", "prod-1"),
        (PRODUCTION, ""),
        ("/SUBSCRIPTIONS/S", ""),
        ("", ""),
        (PRODUCTION + "X" * 2000, ""),
        (7, ""),
        (None, ""),
    ],
)
def test_the_cluster_is_named_by_the_resource_id(resource_id: object, cluster: str) -> None:
    one = record(audit_event().decode()) | {"resourceId": resource_id}
    for body in (envelope(one), envelope(one, 7), json.dumps(one).encode()):
        (event,), _ = unpack(body)
        assert event.cluster == cluster


def test_a_category_is_cut_to_the_length_of_a_label() -> None:
    (event,), _ = unpack(envelope(record(audit_event().decode(), "x" * 1000)))
    assert event.category == "x" * 128


def test_one_malformed_record_costs_no_other_and_its_body_is_kept() -> None:
    body = envelope(record(audit_event("a").decode()), "?", record(audit_event("b").decode()))
    body = body.replace(b'"?"', b'{"properties":NaN}')
    events, skipped = unpack(body)
    assert [event.audit_id for event in events] == ["a", "b"]
    assert [skip.reason for skip in skipped] == [Skip.BROKEN_RECORD, Skip.CUT_BODY]
    assert skipped[1].raw == body


def test_a_record_too_deep_to_be_read_costs_no_other() -> None:
    deep = nested(100_000)[:-1] + b',"verb":"get","user":{"username":"u"}}'
    record_of = b'{"category":"kube-audit","properties":{"log":%s}}'
    body = b'{"records":[%s,%s]}' % (record_of % deep, record_of % audit_event("b"))
    (first, second), _ = unpack(body)
    assert first.salvaged
    assert json.loads(first.raw)["annotations"] == {"audit.k8s.io/truncated": "true"}
    assert (second.raw, second.salvaged) == (audit_event("b"), False)
    inside = json.dumps({"properties": json.dumps({"log": 0}).replace("0", deep.decode())}).encode()
    events, _ = unpack(b'{"records":[%s]}' % inside)
    assert [event.salvaged for event in events] == [True]


def test_a_cut_record_is_told_apart_by_what_came_before_the_cut() -> None:
    one = {"resourceId": PRODUCTION + "P"} | record(audit_event(verb="get", n=[1]).decode())
    body = envelope(one)
    (event,), (skip,) = unpack(body[: body.index(b'"stream"')])
    assert (event.raw, event.cluster, event.category) == (
        audit_event(verb="get", n=[1]),
        "p",
        "kube-audit",
    )
    assert skip.reason is Skip.CUT_BODY


def test_lines_of_json_of_which_one_is_cut_cost_that_one() -> None:
    lines = [audit_event(str(number), verb="get") for number in range(4)]
    lines[1], lines[3] = lines[1][:-5], lines[3][:-5]
    events, skipped = unpack(b"\n".join(lines))
    assert [event.audit_id for event in events] == ["0", "2"]
    assert [skip.reason for skip in skipped] == [Skip.BROKEN_AUDIT] * 2


def test_an_envelope_over_several_lines_is_read_as_one_text() -> None:
    records = [json.dumps(record(audit_event(str(n)).decode())).encode() for n in range(3)]
    body = b'{"records":[\n' + b",\n".join(records)
    assert [event.audit_id for event in unpack(body + b"]}")[0]] == ["0", "1", "2"]
    assert [event.audit_id for event in unpack(body)[0]] == ["0", "1", "2"]


@pytest.mark.parametrize("form", [b'{"records":[%s]}', b'{"kind":"EventList","items":[%s]}'])
def test_a_body_of_more_records_than_azure_sends_is_kept_whole(form: bytes) -> None:
    body = form % b",".join([b"{}"] * (RECORDS_MAX + 5))
    events, skipped = unpack(body)
    assert events == []
    assert len(skipped) == RECORDS_MAX + 1
    assert (skipped[-1].reason, skipped[-1].raw) == (Skip.BROKEN_BODY, body)


@pytest.mark.parametrize("cut", [False, True], ids=["lines", "a body that is cut as well"])
def test_a_body_that_is_mostly_broken_is_kept_once_and_whole(*, cut: bool) -> None:
    broken = b'{"kind":"Event","auditID":"x"'
    if cut:
        records = b",".join([b'{"properties":{"log":"%s"}}' % broken.replace(b'"', b'\\"')] * 500)
        body = b'{"records":[' + record_of("whole") + b"," + records
    else:
        body = b"\n".join([record_of("whole"), *[broken] * 500])
    events, skipped = unpack(body)
    assert [event.audit_id for event in events] == ["whole"]
    (skip,) = skipped
    assert (skip.reason, skip.raw) == (Skip.BROKEN_BODY, body)
    assert "records cannot be read" in skip.detail


def record_of(audit_id: str) -> bytes:
    return json.dumps(record(audit_event(audit_id).decode())).encode()


@pytest.mark.parametrize(("faults", "others"), [(FAULTS_MAX, 0), (FAULTS_MAX + 20, 2000)])
def test_few_faults_are_kept_one_by_one(faults: int, others: int) -> None:
    """Few by number, or few of many."""
    lines = [record("{" + f'"auditID":"{number}"') for number in range(faults)]
    events, skipped = unpack(envelope(*lines, *[record("klog")] * others))
    assert not events
    kept = [skip.raw for skip in skipped if skip.raw]
    assert kept == [b'{"auditID":"%d"' % number for number in range(faults)]


def test_a_large_body_takes_many_steps_and_a_usual_one_is_one() -> None:
    def steps(body: bytes) -> int:
        return sum(1 for _ in unpack_in_steps(body, received="", salvage_cut=True))

    assert steps(b"\n".join([b'{"kind":"Event"'] * RECORDS_MAX)) > 50
    assert steps(envelope(*[record("klog")] * RECORDS_MAX)) > 50
    assert steps(envelope(*[record(audit_event().decode())] * 100)) == 0
