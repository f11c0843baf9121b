"""Every audit event reaches the rules: cut, doubled, mixed, of many clusters, from hub to Falco."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from testkit.falco import ThreadedFalco
from testkit.rig import Rig, Scrape
from testkit.rig.wait import eventually
from testkit.streams.expected import DEAD, expected_skips
from testkit.streams.records import cut_audit, doubled
from testkit.streams.stream import Published, Stream, expected_of

TRUNCATED = "audit.k8s.io/truncated"


def counted(scrape: Scrape, kind: str) -> dict[str, float]:
    name = "aks_audit_log_cluster_events_total"
    clusters = scrape.by(name, "cluster")
    found = {cluster: scrape.total(name, cluster=cluster, kind=kind) for cluster in clusters}
    return {cluster: count for cluster, count in found.items() if count}


def test_the_whole_mix_is_posted_once_kept_or_counted(rig: Rig) -> None:
    with rig.forwarder() as forwarder:
        published = rig.send(Stream(seed=11, malformed=0.05, odd=0.1).take(4000))
        total = expected_of(published)
        rig.account.wait()
        rig.wait_for_checkpoints()
        skips = expected_skips(total)
        scrape = forwarder.metrics()
        assert scrape.by("aks_audit_log_records_skipped_total", "reason") == skips
        dead = {reason: count for reason, count in skips.items() if reason in DEAD}
        assert scrape.by("aks_audit_log_dead_letters_total", "reason") == dead
        assert scrape.total("aks_audit_log_events_salvaged_total") == total.cut > 20
        assert scrape.total("aks_audit_log_events_duplicate_total") == total.copies > 50
        assert scrape.total("aks_audit_log_events_filtered_total") == 0
        assert counted(scrape, "forwarded") == total.clusters
        assert len(total.clusters) == 5
        assert sum(counted(scrape, "salvaged").values()) == total.cut
        assert sum(counted(scrape, "duplicate").values()) == total.copies
        assert scrape.total("falco_aks_audit_log_events_success") == len(total.audit)
        assert len(forwarder.log("rebuilt an audit event that came cut")) == total.cut
        assert forwarder.stop() == 0
    rig.account.check()
    assert set(rig.falco.receipts.values()) == {1}


def lines_of(published: Iterable[Published]) -> Iterator[bytes]:
    """The logs of all records, as they were written."""
    for each in published:
        for one in json.loads(each.body)["records"]:
            yield one["properties"]["log"].strip().encode()


def test_only_what_came_cut_is_changed(rig: Rig) -> None:
    mix = ((8, doubled), (2, cut_audit))
    with rig.forwarder():
        published = rig.publish(Stream(malformed=0, odd=0, mix=mix).take(300))
        rig.account.wait()
        rig.wait_for_checkpoints()
    rig.account.check()
    lines = set(lines_of(published))
    posted = rig.falco.events
    rebuilt = {key: raw for key, raw in posted.items() if raw not in lines}
    assert len(rebuilt) == expected_of(published).cut > 10
    for raw in rebuilt.values():
        event = json.loads(raw)
        assert event["annotations"] == {TRUNCATED: "true"}
        assert event["stageTimestamp"].endswith("Z")
        assert event["objectRef"]["resource"]
        assert TRUNCATED.encode() not in b"".join(lines)


def test_the_clusters_name_is_added_and_nothing_else(rig: Rig) -> None:
    with rig.forwarder(CLUSTERNAME="annotate"):
        published = rig.publish(Stream(malformed=0, odd=0, mix=((1, doubled),)).take(100))
        rig.account.wait()
    lines = {(event["auditID"], event["stage"]): raw for raw, event in parsed(published)}
    for key, raw in rig.falco.events.items():
        name = json.loads(raw)["annotations"]["cluster_name"]
        assert name.startswith("aks-")
        assert raw.replace(f'"cluster_name":"{name}",'.encode(), b"", 1) == lines[key]


def parsed(published: Iterable[Published]) -> Iterator[tuple[bytes, dict[str, str]]]:
    for raw in lines_of(published):
        yield raw, json.loads(raw)


def test_without_a_window_copies_are_posted_twice(rig: Rig) -> None:
    with rig.forwarder(DEDUPWINDOW="0") as forwarder:
        published = rig.publish(Stream(malformed=0, odd=0, mix=((1, doubled),)).take(200))
        copies = expected_of(published).copies
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    assert rig.account.duplicates == copies > 20


def test_filters_drop_what_they_name_and_count_it(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "filters"
    file.write_text("# reads are noise\ndrop verb=get,list,watch stage!=Panic\n")
    published = list(Stream(malformed=0, odd=0, mix=((1, doubled),)).take(100))
    reads = audits("read", "get")
    with rig.forwarder(FILTERS_FILE=str(file)) as forwarder:
        rig.publish(published)
        for each in reads:
            rig.emulator.broker.publish("insights-logs-kube-audit", "0", [each.body])
        rig.account.wait()
        rig.wait_for_checkpoints()
        scrape = forwarder.metrics()
        assert scrape.total("aks_audit_log_events_filtered_total") == len(reads)
        assert forwarder.stop() == 0
    rig.account.check()


def audits(
    name: str, verb: str, clusters: Iterable[str] = ("",), count: int = 10
) -> list[Published]:
    """Hub events with one small audit event each, of the clusters in turn."""
    found = []
    for number in range(count):
        for partition, cluster in enumerate(clusters):
            audit_id = f"{name}-{cluster}-{number}"
            event = {
                "kind": "Event",
                "apiVersion": "audit.k8s.io/v1",
                "auditID": audit_id,
                "stage": "ResponseComplete",
                "verb": verb,
                "user": {"username": "u"},
                "stageTimestamp": "2026-03-01T08:00:00Z",
            }
            path = f"/subscriptions/s/managedClusters/{cluster}".upper()
            properties = {"log": json.dumps(event)}
            one = {"category": "kube-audit", "resourceId": path, "properties": properties}
            body = json.dumps({"records": [one]}).encode()
            found.append(Published(body, partition, ((audit_id, "ResponseComplete"),)))
    return found


def routes(file: Path, url: str) -> str:
    file.write_text(f'[[route]]\nname = "prod"\ncluster = "prod-*"\nurl = "{url}"\n')
    return str(file)


def ids(falco: ThreadedFalco) -> Counter[str]:
    return Counter(audit_id.rpartition("-")[0] for audit_id, _ in falco.receipts)


def test_one_failing_falco_does_not_hold_the_other_up(rig: Rig, tmp_path: Path) -> None:
    with ThreadedFalco() as prod:
        prod.faults.answer(503, times=None)
        file = routes(tmp_path / "routes.toml", prod.url)
        with rig.forwarder(ROUTES_FILE=file, POSTMAXRETRIES="1") as forwarder:
            rig.publish(audits("first", "get", ["test", "prod-1"]))
            forwarder.wait_until_unready("sink of prod", "HTTP 503")
            rig.publish(audits("second", "get", ["test", "prod-1"]))
            eventually(lambda: ids(rig.falco) == {"first-test": 10, "second-test": 10})
            assert prod.count == 0
            scrape = forwarder.wait_until(
                lambda scrape: scrape.total("aks_audit_log_inflight_events") == 20
            )
            assert scrape.total("aks_audit_log_holding") == 1
            assert "sink" not in forwarder.unready()
            assert forwarder.get("/livez").status_code == 200
            # The partition of the healthy one goes on; that of the failing one waits.
            eventually(lambda: rig.checkpoints().get("0") == 19)
            assert rig.checkpoints().get("1", -1) == -1
            prod.faults.clear()
            eventually(lambda: ids(prod) == {"first-prod-1": 10, "second-prod-1": 10})
            forwarder.wait_until_ready()
            rig.wait_for_checkpoints()
            assert forwarder.stop() == 0
            assert not forwarder.stray()
        assert set(rig.falco.receipts.values()) == set(prod.receipts.values()) == {1}


def test_a_failing_falco_takes_its_own_share_of_memory_and_no_more(
    rig: Rig, tmp_path: Path
) -> None:
    with ThreadedFalco() as prod:
        prod.faults.answer(503, times=None)
        file = routes(tmp_path / "routes.toml", prod.url)
        settings = {"ROUTES_FILE": file, "POSTMAXRETRIES": "0", "INFLIGHTMAXBYTES": "1MiB"}
        with rig.forwarder(**settings, POSTBATCHMAXBYTES="256KiB") as forwarder:
            large = [pad(each, 40_000) for each in audits("large", "get", ["prod-1"], 40)]
            rig.publish(large)
            forwarder.wait_until_unready("sink of prod", "HTTP 503")
            share = (1 << 20) // 2 // 2
            held = forwarder.wait_until(
                lambda scrape: scrape.total("aks_audit_log_inflight_bytes") >= share
            )
            assert held.total("aks_audit_log_inflight_bytes") < share + 50_000
            prod.faults.clear()
            eventually(lambda: prod.received.unique == 40)
            rig.wait_for_checkpoints()
            assert forwarder.stop() == 0


def pad(published: Published, size: int) -> Published:
    body = published.body.replace(b'\\"verb', b'\\"pad\\": \\"' + b"x" * size + b'\\", \\"verb')
    return Published(body, published.partition, published.audit)


def test_a_failing_falco_with_dead_letters_holds_nothing_up(rig: Rig, tmp_path: Path) -> None:
    with ThreadedFalco() as prod:
        prod.faults.answer(503, times=None)
        file = routes(tmp_path / "routes.toml", prod.url)
        settings = {"ROUTES_FILE": file, "POSTMAXRETRIES": "0", "POSTEXHAUSTED": "deadletter"}
        with rig.forwarder(**settings) as forwarder:
            rig.publish(audits("any", "get", ["test", "prod-1"]))
            eventually(lambda: ids(rig.falco) == {"any-test": 10})
            rig.wait_for_checkpoints()
            scrape = forwarder.metrics()
            assert scrape.total("aks_audit_log_dead_letters_total", reason="exhausted") == 10
            assert forwarder.ready()
            assert forwarder.stop() == 0


def test_a_hundred_clusters_have_series_of_their_own(rig: Rig) -> None:
    names = [f"c{number}" for number in range(120)]
    with rig.forwarder() as forwarder:
        events = audits("many", "get", names, 1)
        rig.publish(Published(each.body, each.partition % 4, each.audit) for each in events)
        rig.account.wait()
        forwarded = counted(forwarder.metrics(), "forwarded")
        assert len(forwarded) == 101
        assert forwarded["other"] == 20
        assert forwarder.stop() == 0
