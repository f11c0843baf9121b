"""Hub events that no producer should send: each costs itself, and nothing around it."""

import json

import pytest

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies, envelope
from testkit.streams.stream import Published
from tests.fault.balance import Balance

GOOD = json.loads(envelope(["@"]))["records"][0]
"""A record with one audit event, whose id is "@"."""


def line(audit_id: str, **changes: object) -> dict[str, object]:
    log = json.loads(GOOD["properties"]["log"]) | {"auditID": audit_id} | changes
    return {**GOOD, "properties": {"log": json.dumps(log)}}


def body(*records: object) -> bytes:
    return json.dumps({"records": records}).encode()


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


HUGE_NUMBER = "9" * 10_000
NO_EVENT_IN_IT: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "no json": b"this is no JSON",
    "cut": body(line("never"))[:100],
    "not utf-8": b"\xff\xfe{\x80}",
    "utf-16": body(line("never")).decode().encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(256)),
    "nul bytes": b"\0" * 1000,
    "nul in a string": b'{"records":[{"properties":{"log":"\0"}}]}',
    "a number": b"42",
    "a huge number": HUGE_NUMBER.encode(),
    "a huge exponent": b"1e999999",
    "a list": b"[1,2,3]",
    "null": b"null",
    "kind 0": b'{"kind": 0}',
    "records null": b'{"records":null}',
    "records text": b'{"records":"text"}',
    "records object": b'{"records":{}}',
    "no records": b'{"records":[]}',
    "record null": b'{"records":[null]}',
    "record number": b'{"records":[7,-1,1e3,true]}',
    "properties wrong": body({"properties": 5}, {"properties": []}, {"properties": "{"}),
    "log wrong": body({"properties": {"log": 5}}, {"properties": {"log": [[]]}}),
    "log kind 0": body({"properties": {"log": '{"kind": 0}'}}),
    "log cut": body({"properties": {"log": '{"kind":"Event","apiVersion":"audit.k8s.io/v1",'}}),
    "deep": nested(10_000),
    "deep records": b'{"records":[' + nested(10_000) + b"]}",
    "deep log": b'{"records":[{"properties":{"log":' + nested(10_000) + b"}}]}",
    "deep text log": body({"properties": {"log": '{"kind":"Event","d":' + "[" * 10_000}}),
    "lone surrogate": b'{"records":"\\ud800"}',
    "many keys": json.dumps({str(number): number for number in range(20_000)}).encode(),
}


def with_events(number: int) -> list[Published]:
    """Odd bodies from which an event can be read all the same."""
    ids = [f"odd-{number}-{which}" for which in range(9)]
    huge = json.dumps(line(ids[4], note="@")).replace('\\"@\\"', HUGE_NUMBER).encode()
    bodies = [
        body(None, line(ids[0]), 7, [], {"properties": None}, line(ids[1])),
        body({**GOOD, "properties": json.dumps(line(ids[2])["properties"])}),
        body({**GOOD, "properties": {"log": json.loads(line(ids[3])["properties"]["log"])}}),  # type: ignore[index]
        b'{"records":[' + huge + b"]}",
        b'{"records":[{"category":"a","category":"b","properties":5,"properties":'
        + json.dumps(line(ids[5])["properties"]).encode()
        + b"}]}",
        body(line(ids[6], note="\ud800 alone")),
        body(line(ids[7], note="\0")),
        body(line(ids[8], user={"username": 5}, verb=None)),
    ]
    found = [(ids[0], ids[1]), *((each,) for each in ids[2:])]
    return [
        Published(data, 0, tuple((audit_id, "ResponseComplete") for audit_id in there))
        for data, there in zip(bodies, found, strict=True)
    ]


def test_every_malformed_body_costs_only_itself(rig: Rig, balance: Balance) -> None:
    """Each between two good ones, all in one partition: none may stop it."""
    for number, (name, data) in enumerate(NO_EVENT_IN_IT.items()):
        rig.publish(audit_bodies(f"before {name}", 1))
        rig.publish([Published(data, number % 2, malformed=name)])
        rig.publish(audit_bodies(f"after {name}", 1))
    rig.publish(with_events(0))
    rig.publish(audit_bodies("last", 4, records=10, partitions=4))
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.ready()
        assert forwarder.get("/livez").status_code == 200
        skipped = forwarder.metrics().by("aks_audit_log_records_skipped_total", "reason")
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    balance.check()
    harmless = {"klog", "not-audit", "no-log", "empty"}
    counted = {reason: count for reason, count in skipped.items() if reason not in harmless}
    assert balance.reasons() == counted
    kept = {letter.body for letter in balance.letters()}
    whole = {"no json", "cut", "utf-16", "gzip", "nul bytes", "a number", "kind 0"}
    assert {NO_EVENT_IN_IT[name] for name in whole} <= kept


@pytest.mark.parametrize("record", [None, {}, GOOD], ids=["null", "empty", "good"])
def test_many_thousand_records_in_a_body(rig: Rig, balance: Balance, record: object) -> None:
    good = record is GOOD
    ids = [f"many-{number}" for number in range(1500)] if good else []
    data = body(*map(line, ids)) if good else body(*[record] * 100_000)
    rig.publish([Published(data, 0, tuple((each, "ResponseComplete") for each in ids))])
    rig.publish(audit_bodies("after", 4, partitions=4))
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.get("/livez").status_code == 200
        assert forwarder.ready()
        assert forwarder.stop() == 0
    balance.check()
    whole = [letter for letter in balance.letters() if letter.body == data]
    assert len(whole) == (0 if good else 1), "it is more than is read of one body"
