"""What the stream expects, against an independent reading with the standard library."""

import json
import re
from collections import Counter
from itertools import islice
from typing import Any

import pytest

from testkit.falco.rules import Accepted, apply_rules
from testkit.streams.stream import Published, Stream, bench_bodies, expected_of

WHO = ["kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user"]
WHERE = ["impersonatedUser", "sourceIPs", "userAgent", "objectRef", "responseStatus"]
WHAT = ["requestObject", "responseObject"]
WHEN = ["requestReceivedTimestamp", "stageTimestamp", "annotations"]
ORDER = WHO + WHERE + WHAT + WHEN


@pytest.fixture(scope="module")
def stream() -> list[Published]:
    return list(Stream(malformed=0.05).take(8000))


def read_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def records_of(body: bytes) -> list[Any]:
    """The records of a well-formed body, in each of its forms."""
    text = body.decode("utf-8-sig")
    whole = read_json(text)
    if whole is None or "records" not in whole:
        return [json.loads(line) for line in text.splitlines()]
    return list(whole["records"])


def logs(body: bytes) -> list[Any]:
    """Each record's log: an object where it is JSON, whatever its form; else as it is, or None."""
    found = []
    for record in records_of(body):
        properties = record.get("properties") if isinstance(record, dict) else None
        if isinstance(properties, str):
            properties = json.loads(properties)
        log = properties.get("log") if isinstance(properties, dict) else None
        parsed = read_json(log) if isinstance(log, str) else log
        found.append(parsed if isinstance(parsed, dict) else log)
    return found


def is_audit(log: Any) -> bool:
    return (
        isinstance(log, dict)
        and log.get("kind") == "Event"
        and log.get("apiVersion") == "audit.k8s.io/v1"
        and isinstance(log.get("stageTimestamp"), str)
    )


def audit_events(stream: list[Published]) -> list[dict[str, Any]]:
    bodies = (published.body for published in stream if not published.malformed)
    return [log for body in bodies for log in logs(body) if is_audit(log)]


def cut_key(log: Any) -> tuple[str, str] | None:
    """The key of an audit event that was cut where it can be rebuilt."""
    if not isinstance(log, str) or len(log.encode()) < 16_000:
        return None
    audit_id, stage = (re.search(f'"{name}":"([^"]*)"', log) for name in ("auditID", "stage"))
    assert audit_id
    assert stage
    return audit_id[1], stage[1]


def test_what_is_expected_is_what_a_plain_reading_finds(stream: list[Published]) -> None:
    seen: set[tuple[str, str]] = set()
    for published in stream:
        if published.malformed:
            seen.update(published.audit)
            continue
        read = logs(published.body)
        whole = [(log["auditID"], log["stage"]) for log in read if is_audit(log)]
        cut = [key for log in read if (key := cut_key(log))]
        found = whole + cut
        assert set(published.audit) == set(found) - seen
        assert published.cut == len(cut)
        assert published.copies == len(found) - len(published.audit)
        assert sum(published.skipped.values()) == len(read) - len(found)
        assert sum(published.clusters.values()) == len(published.audit)
        seen.update(published.audit)


def test_no_event_comes_twice_but_as_a_copy(stream: list[Published]) -> None:
    total = expected_of(stream)
    assert len(set(total.audit)) == len(total.audit)
    assert total.copies > 0
    assert len(total.clusters) == 5


def test_malformed_bodies_are_no_envelopes(stream: list[Published]) -> None:
    for published in stream:
        if published.malformed:
            known = read_json(published.body) if published.malformed != "binary" else None
            assert not (isinstance(known, dict) and isinstance(known.get("records"), list))
            if published.malformed != "cut":
                assert (published.audit, published.skipped) == ((), {})


def test_a_cut_body_holds_the_records_that_it_is_said_to_hold(stream: list[Published]) -> None:
    cut = [published for published in stream if published.malformed == "cut"]
    assert any(published.audit for published in cut)
    for published in cut:
        text = published.body.decode()
        for audit_id, stage in published.audit:
            assert audit_id in text
            assert stage in text


def test_everything_that_can_go_wrong_does(stream: list[Published]) -> None:
    total = expected_of(stream)
    assert set(total.malformed) == {"cut", "text", "binary", "blank", "foreign"}
    assert set(total.skipped) == {
        "klog",
        "json-log",
        "timeless-audit",
        "fragment",
        "empty-log",
        "no-log",
        "odd-log",
        "odd-record",
    }


def test_falco_takes_every_audit_event(stream: list[Published]) -> None:
    for event in audit_events(stream):
        (verdict,) = apply_rules(json.dumps(event).encode())
        assert isinstance(verdict, Accepted)


def test_keys_come_in_the_order_of_the_api_server(stream: list[Published]) -> None:
    for event in audit_events(stream):
        keys = list(event)
        assert keys == sorted(keys, key=ORDER.index)


def test_the_events_differ_as_those_of_a_cluster_do(stream: list[Published]) -> None:
    events = audit_events(stream)
    assert {event["stage"] for event in events} == {
        "RequestReceived",
        "ResponseStarted",
        "ResponseComplete",
        "Panic",
    }
    verbs = {event["verb"] for event in events}
    assert verbs >= {"get", "list", "watch", "create", "update", "patch", "delete"}
    refs = Counter(
        (event.get("objectRef", {}).get("resource"), event.get("objectRef", {}).get("subresource"))
        for event in events
    )
    assert refs.keys() >= {("pods", "exec"), ("secrets", None), ("clusterrolebindings", None)}
    sizes = [len(json.dumps(event)) for event in events]
    assert min(sizes) < 800
    assert max(sizes) > 20_000


def test_records_look_like_those_of_azure(stream: list[Published]) -> None:
    records = [
        record
        for published in stream
        if not published.malformed
        for record in records_of(published.body)
        if isinstance(record, dict) and "category" in record
    ]
    assert {record["category"] for record in records} >= {
        "kube-audit",
        "kube-audit-admin",
        "kube-apiserver",
        "cluster-autoscaler",
        "guard",
        "kube-controller-manager",
    }
    assert all(record["resourceId"] == record["resourceId"].upper() for record in records)
    assert len({record["resourceId"] for record in records}) == 5
    forms = Counter(type(record["properties"]).__name__ for record in records)
    assert forms.keys() == {"dict", "str"}


def test_the_same_seed_gives_the_same_stream() -> None:
    first, again, other = (
        [(p.body, p.partition) for p in islice(Stream(seed=seed).bodies(), 300)]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_bodies_fit_into_an_event_hubs_message() -> None:
    long = Stream(records=(2000, 2000), malformed=0)
    assert max(len(published.body) for published in islice(long.bodies(), 5)) < 1_000_000


def test_all_partitions_are_used(stream: list[Published]) -> None:
    assert {published.partition for published in stream} == {0, 1, 2, 3}


def test_take_yields_enough_and_not_much_more() -> None:
    count = len(expected_of(Stream(records=(1, 3)).take(100)).audit)
    assert 100 <= count < 110


def test_bench_bodies_have_exactly_the_size_asked_for() -> None:
    published = list(bench_bodies(3, records_per_body=5, event_bytes=700))
    assert [len(body.audit) for body in published] == [5] * 3
    for body in published:
        records = json.loads(body.body)["records"]
        raw = [record["properties"]["log"].rstrip("\n").encode() for record in records]
        assert [len(event) for event in raw] == [700] * 5
        verdicts = [apply_rules(event)[0] for event in raw]
        assert [v.key for v in verdicts if isinstance(v, Accepted)] == list(body.audit)
    assert len(set(expected_of(published).audit)) == 15


def test_bench_events_cannot_be_smaller_than_what_they_hold() -> None:
    with pytest.raises(ValueError, match="at least"):
        list(bench_bodies(1, event_bytes=100))
