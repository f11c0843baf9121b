"""A store that can be read and not written: nothing is claimed, and the probe says so all along."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from testkit.rig import Azurite, Forwarder, Rig, blob_store, open_rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance, Report

ROUNDS = 3


def says_so_throughout(rig: Rig, forwarder: Forwarder, reason: str) -> None:
    """Ask the probes until some rounds have failed: not one answer may be that all is well."""
    rig.publish(audit_bodies("waiting", 40, partitions=4))
    forwarder.wait_for_log("receiving")
    while len(forwarder.log("receiving failed", partition=None)) < ROUNDS:
        assert forwarder.running
        assert "source" in forwarder.unready()
        assert forwarder.get("/livez").status_code == 200
    said = forwarder.unready()["source"]
    assert "owned by nobody: 0, 1, 2, 3" in said
    assert reason in said
    scrape = forwarder.metrics()
    assert scrape.total("aks_audit_log_partitions_unowned") == 4
    assert scrape.total("aks_audit_log_partitions_owned") == 0
    assert not rig.falco.count


def goes_on(rig: Rig, forwarder: Forwarder) -> None:
    rig.account.wait()
    rig.wait_for_checkpoints()
    forwarder.wait_until_ready()
    scrape = forwarder.metrics()
    assert scrape.total("aks_audit_log_partitions_unowned") == 0
    assert scrape.total("aks_audit_log_partitions_owned") == 4
    assert forwarder.stop() == 0


def read_only(azurite: Azurite, container: str) -> str:
    """Return a connection string that may read and list, and nothing else."""
    known = dict(each.split("=", 1) for each in azurite.connection_string.strip(";").split(";"))
    signature = generate_container_sas(
        known["AccountName"],
        container,
        account_key=known["AccountKey"],
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return f"BlobEndpoint={known['BlobEndpoint']};SharedAccessSignature={signature}"


def test_a_signature_that_may_not_write(azurite: Azurite, record_property: Report) -> None:
    store = blob_store(azurite.connection_string)
    limited = read_only(azurite, store.environment["BLOBCONTAINERNAME"])
    with open_rig(store) as rig:
        with rig.forwarder(BLOBSTORAGECONNECTIONSTRING=limited) as forwarder:
            says_so_throughout(rig, forwarder, "not authorized")
            assert forwarder.stop() == 0
        with rig.forwarder() as forwarder:
            goes_on(rig, forwarder)
        Balance(rig, record_property).check()


@contextmanager
def no_room(forwarder: Forwarder) -> Iterator[None]:
    """Limit the size of its files, from outside: SQLite sees a disk that takes no more."""
    unlimited = resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, (100, -1))
    yield
    resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, unlimited)


def test_a_disk_that_is_full_before_the_first_claim(rig: Rig, balance: Balance) -> None:
    assert not rig.owners()  # which makes the file
    with rig.forwarder() as forwarder:
        with no_room(forwarder):
            says_so_throughout(rig, forwarder, "disk I/O error")
        goes_on(rig, forwarder)
    balance.check()
