import httpx

from testkit.rig import DEADLINE_S, Forwarder, Rig
from testkit.streams.bodies import audit_bodies

LEGACY = {
    "falco_aks_audit_log_events",
    "falco_aks_audit_log_events_success",
    "falco_aks_audit_log_events_errors",
    "falco_aks_audit_log_events_retry",
}
"""As aks-audit-log-go exposes them; whoever renames one breaks somebody's dashboard."""

NAMES = LEGACY | {
    f"aks_audit_log_{name}"
    for name in (
        "hub_events_total",
        "hub_bytes_total",
        "hub_events_redelivered_total",
        "records_skipped_total",
        "events_settled_total",
        "posts_total",
        "checkpoint_writes_total",
        "receiver_restarts_total",
        "partitions_owned",
        "partitions_unowned",
        "post_seconds_bucket",
        "post_seconds_count",
        "post_seconds_sum",
        "batch_events_bucket",
        "batch_events_count",
        "batch_events_sum",
        "delay_seconds_bucket",
        "delay_seconds_count",
        "delay_seconds_sum",
        "inflight_events",
        "inflight_bytes",
        "holding",
        "build_info",
        "last_sequence_number",
        "checkpoint_sequence_number",
        "checkpoint_age_seconds",
        "checkpoint_behind_events",
    )
}
"""What dashboards and alerts may rely on."""


def test_metrics_have_their_names_and_types(rig: Rig) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("measured", 8, partitions=4))
        rig.emulator.broker.publish("insights-logs-kube-audit", "0", [b" "])
        rig.account.wait()
        rig.wait_for_checkpoints()
        answer = forwarder.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        scrape = forwarder.metrics()
        assert scrape.names >= NAMES
        for name in LEGACY:
            assert f"\n# TYPE {name} counter\n" in "\n" + scrape.text
        assert scrape.total("aks_audit_log_inflight_events") == 0
        assert scrape.total("aks_audit_log_inflight_bytes") == 0
        assert scrape.total("aks_audit_log_checkpoint_behind_events") == 0
        last = {
            partition: float(number) for partition, number in rig.last_sequence_numbers().items()
        }
        assert scrape.by("aks_audit_log_last_sequence_number", "partition") == last
        assert scrape.by("aks_audit_log_checkpoint_sequence_number", "partition") == last
        assert scrape.total("aks_audit_log_posts_total", status="200") > 0
        assert scrape.total("aks_audit_log_build_info", azure_eventhub="5.15.1") == 1
        assert not [name for name in scrape.names if name.endswith("_created")]


def test_the_pages_of_a_healthy_forwarder(rig: Rig) -> None:
    with rig.forwarder() as forwarder:
        forwarder.wait_until_ready()
        for path in ("/livez", "/readyz", "/"):
            answer = forwarder.get(path)
            assert answer.status_code == 200
            assert answer.headers["Content-Type"] == "application/json"
            assert path == "/" or answer.json() == {"status": "ok"}

        rig.publish(audit_bodies("shown", 6, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        forwarder.wait_until(
            lambda scrape: scrape.total("aks_audit_log_checkpoint_behind_events") == 0
        )
        page = forwarder.get("/").json()
        assert page["name"] == "aks-audit-log"
        assert page["event_hub"] == f"{rig.namespace}/insights-logs-kube-audit"
        assert page["consumer_group"] == "$Default"
        assert page["webhook"] == rig.falco.url
        assert page["unready"] == page["stalled"] == {}
        assert page["partitions"] == {
            partition: {"received": number, "done": number, "checkpoint": number}
            for partition, number in rig.last_sequence_numbers().items()
        }


def statuses(forwarder: Forwarder, method: str) -> set[int]:
    base = str(forwarder.get("/").url)
    with httpx.Client(base_url=base, trust_env=False, timeout=DEADLINE_S) as client:
        return {
            client.request(method, path).status_code
            for path in ("/", "/metrics", "/livez", "/readyz")
        }


def test_pages_take_no_orders_and_are_there_before_the_hub(rig: Rig) -> None:
    rig.emulator.faults.refuse_connections()
    with rig.forwarder() as forwarder:
        assert statuses(forwarder, "POST") == {405}
        assert statuses(forwarder, "DELETE") == {405}
        assert forwarder.get("/nothing-here").status_code == 404
        assert forwarder.get("/livez").status_code == 200
        assert forwarder.get("/readyz").status_code == 503
        assert forwarder.metrics().names >= LEGACY
        assert forwarder.stop() == 0
