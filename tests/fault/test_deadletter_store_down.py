"""The dead-letter store is away: what is for it stays in flight, everything else goes on."""

from collections.abc import Iterator

import pytest

from testkit.rig import Azurite, Rig, blob_store, open_rig
from testkit.rig.proxy import Proxy
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance, Report

POISON = 24


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    with Proxy(azurite.port) as running:
        yield running


def test_blob_storage_that_refuses_connections(proxy: Proxy, record_property: Report) -> None:
    store = blob_store(Azurite(proxy.port).connection_string)
    with open_rig(store) as rig, rig.forwarder() as forwarder:
        balance = Balance(rig, record_property)
        rig.falco.faults.reject('"poison-')
        rig.publish(audit_bodies("before", 40, records=3, partitions=4))
        balance.wait()
        with proxy.refusing():
            rig.publish(audit_bodies("poison", POISON, partitions=4))
            rig.publish(audit_bodies("during", 40, records=3, partitions=4))
            forwarder.wait_until_unready("dead letters", "ServiceRequestError")
            rig.falco.wait_for(lambda: rig.falco.received.unique == 240)
            assert forwarder.metrics().total("aks_audit_log_inflight_events") == POISON
            assert forwarder.get("/livez").status_code == 200
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
        balance.check(dead=POISON)


def test_a_directory_that_cannot_be_written(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory, record_property: Report
) -> None:
    """Root may write to any directory, so something else is in its place."""
    path = tmp_path_factory.mktemp("dead") / "letters"
    path.write_text("no directory")
    settings = {"DEADLETTERPATH": str(path)}
    with rig.forwarder(**settings) as forwarder:
        rig.falco.faults.reject('"poison-')
        rig.publish(audit_bodies("poison", POISON, partitions=4))
        rig.publish(audit_bodies("good", 40, records=3, partitions=4))
        forwarder.wait_until_unready("dead letters", "FileExistsError")
        rig.falco.wait_for(lambda: rig.falco.received.unique == 120)
        forwarder.wait_until(lambda scrape: scrape.total("aks_audit_log_inflight_events") == POISON)
        path.unlink()
        balance = Balance(rig, record_property, **settings)
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    balance.check(dead=POISON)


def test_a_stop_meanwhile_leaves_them_in_the_hub(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory, record_property: Report
) -> None:
    path = tmp_path_factory.mktemp("dead") / "letters"
    path.write_text("no directory")
    settings = {"DEADLETTERPATH": str(path)}
    rig.falco.faults.reject('"poison-')
    rig.publish(audit_bodies("poison", POISON, partitions=4))
    with rig.forwarder(**settings, SHUTDOWNGRACE="200") as forwarder:
        forwarder.wait_until_unready("dead letters", "FileExistsError")
        assert forwarder.stop() == 0
    path.unlink()
    balance = Balance(rig, record_property, **settings)
    with rig.forwarder(**settings) as forwarder:
        balance.wait()
        assert forwarder.stop() == 0
    balance.check(dead=POISON)
