"""With ROUTES, a Falco that is away costs the others nothing before its own share is used up."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from testkit.falco import ThreadedFalco
from testkit.rig import Store, eventually, open_rig
from testkit.streams.stream import Published

SHARE = (32 << 20) // 2 // 2
"""Of INFLIGHTMAXBYTES, for each of two destinations."""
HUB_EVENTS = 12_000
"""More than any fixed number of hub events that might be read behind a held one."""


def hub_event(cluster: str, audit_id: str, padding: int = 0) -> Published:
    """A hub event with one audit event, in partition 0."""
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "requestURI": "/" + "x" * padding,
        "stageTimestamp": "2026-03-01T08:00:00Z",
    }
    record = {
        "category": "kube-audit",
        "resourceId": f"/subscriptions/s/managedClusters/{cluster}",
        "properties": {"log": json.dumps(event)},
    }
    body = json.dumps({"records": [record]}).encode()
    return Published(body, 0, ((audit_id, "ResponseComplete"),))


def test_the_healthy_one_gets_everything_until_the_share_of_the_sick_one_is_full(
    sqlite: Store, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    file = tmp_path / "routes.toml"
    mixed = [
        hub_event("test" if number % 100 else "sick", f"mixed-{number}")
        for number in range(HUB_EVENTS)
    ]
    large = [hub_event("sick", f"large-{number}", padding=40_000) for number in range(240)]
    last = [hub_event("test", f"last-{number}") for number in range(100)]
    # One partition: it has all of the prefetch, and the test is quick.
    with open_rig(sqlite, partitions=1) as rig, ThreadedFalco() as sick:
        file.write_text(f'[[route]]\nname = "sick"\ncluster = "sick"\nurl = "{sick.url}"\n')
        settings = {"INFLIGHTMAXBYTES": "32MiB", "POSTMAXRETRIES": "0"}
        with rig.forwarder(ROUTES_FILE=str(file), **settings) as forwarder:
            with sick.refusing():
                rig.publish(mixed)
                healthy = HUB_EVENTS * 99 // 100
                rig.falco.wait_for(lambda: rig.falco.received.unique == healthy)
                held = forwarder.wait_until(
                    lambda scrape: scrape.total("aks_audit_log_inflight_events") == 120
                )
                assert held.total("aks_audit_log_inflight_bytes") < SHARE / 2
                assert rig.checkpoints().get("0", -1) == -1
                assert forwarder.get("/livez").status_code == 200
                rig.publish(large)
                rig.publish(last)
                full = forwarder.wait_until(
                    lambda scrape: scrape.total("aks_audit_log_inflight_bytes") >= SHARE
                )
                assert full.total("aks_audit_log_inflight_bytes") < SHARE + 50_000
                # What lies behind, in the hub, waits: that is documented.
                assert rig.falco.received.unique == healthy
                assert "sink of sick" in forwarder.unready()
            eventually(
                lambda: rig.falco.received.unique + sick.received.unique == len(rig.published)
            )
            rig.wait_for_checkpoints()
            forwarder.wait_until_ready()
            assert forwarder.stop() == 0
        received = Counter(rig.falco.receipts) + Counter(sick.receipts)
    record_property("published", len(rig.published))
    record_property("duplicates", received.total() - len(received))
    assert received == rig.account.published
