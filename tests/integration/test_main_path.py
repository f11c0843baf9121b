import json

import pytest

from testkit.rig import Rig, Store, open_rig
from testkit.streams.bodies import audit_bodies
from testkit.streams.expected import expected_letters, expected_skips
from testkit.streams.stream import MIX, Published, Stream, expected_of


def test_everything_arrives_once_and_is_accounted_for(stored_rig: Rig) -> None:
    rig = stored_rig
    with rig.forwarder() as forwarder:
        expected = expected_of(rig.send(Stream(seed=7, malformed=0.05).take(3000)))
        rig.account.wait()
        rig.wait_for_checkpoints()

        scrape = forwarder.metrics()
        skipped = scrape.by("aks_audit_log_records_skipped_total", "reason")
        assert skipped == expected_skips(expected)
        assert scrape.total("aks_audit_log_hub_events_total") == expected.hub_events
        assert scrape.total("aks_audit_log_hub_bytes_total") == expected.body_bytes
        assert scrape.total("falco_aks_audit_log_events") == len(expected.audit)
        assert scrape.total("falco_aks_audit_log_events_success") == len(expected.audit)
        dead = scrape.by("aks_audit_log_dead_letters_total", "reason")
        assert dead == expected_letters(expected)
        assert scrape.total("falco_aks_audit_log_events_retry") == 0
        assert forwarder.ready()

        assert forwarder.stop() == 0
        assert not forwarder.stray()
    rig.account.check()
    assert rig.checkpoints() == rig.last_sequence_numbers()


def logs_of(published: Published) -> dict[tuple[str, str], bytes]:
    """Take the audit events out of a body in the plainest way there is."""
    found = {}
    for record in json.loads(published.body)["records"]:
        raw = record["properties"]["log"].strip().encode()
        event = json.loads(raw)
        found[event["auditID"], event["stage"]] = raw
    return found


@pytest.mark.parametrize("batch", ["1", "400"])
def test_events_arrive_byte_for_byte(rig: Rig, batch: str) -> None:
    with rig.forwarder(POSTBATCHMAXEVENTS=batch):
        published = rig.publish(Stream(malformed=0, mix=MIX[:1], odd=0).take(300))
        rig.account.wait()
    sent = {key: raw for each in published for key, raw in logs_of(each).items()}
    assert rig.falco.events == sent
    if batch == "1":
        assert sorted(rig.falco.bodies) == sorted(sent.values())


def test_sparse_traffic_on_many_partitions(store: Store) -> None:
    with open_rig(store, partitions=32) as rig, rig.forwarder() as forwarder:
        for number in range(3):
            rig.publish(audit_bodies(f"round-{number}", 32, partitions=32))
            rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        rig.account.check()
        assert set(rig.owners().values()) == {""}
