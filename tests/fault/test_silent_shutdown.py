"""SIGTERM while neither the store nor Falco answers: the process stops in order all the same."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.rig import Azurite, Forwarder, Rig, blob_store, open_rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance, Report
from tests.fault.test_store_down import LastingAzurite, lasting, silent

__all__ = ["lasting"]

POISON = 4

STEPS = [
    "shutting down",
    "not drained within the grace period; what is left will be sent after the restart",
    "the partitions were not released in time: their ownership will expire",
    "stopped",
]

HANGS = """
import os, time
from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.deadletters.store import DirectoryStore

def hanging(real):
    def call(*args):
        if os.path.exists(os.environ["SILENT"]):
            time.sleep(3600)
        return real(*args)
    return call

SqliteStore._transaction = hanging(SqliteStore._transaction)
DirectoryStore.write = hanging(DirectoryStore.write)
from aks_audit.__main__ import main
main()
"""
"""The forwarder with its files on a disk that does not answer once another file is there."""


def stops(rig: Rig, forwarder: Forwarder) -> None:
    """With the store silent, have Falco fall silent as well, and stop."""
    rig.publish(audit_bodies("during", 40, partitions=4))
    rig.publish(audit_bodies("poison", POISON, partitions=4))
    rig.falco.wait_for(lambda: rig.falco.received.unique == 80)
    forwarder.wait_for_log("dead letter", count=POISON)
    rig.falco.faults.silence(None)
    rig.publish(audit_bodies("unanswered", 40, partitions=4))
    forwarder.wait_until(lambda scrape: scrape.total("aks_audit_log_inflight_events") > POISON)
    assert forwarder.get("/livez").status_code == 200
    assert forwarder.stop() == 0
    said = [line["msg"] for line in forwarder.log(component="app")]
    assert said == STEPS
    assert not forwarder.stray()


def goes_on(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.clear()
    rig.falco.faults.reject('"poison-')
    rig.release_owners()
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.stop() == 0
    # What was delivered and could not be checkpointed comes again.
    balance.check(dead=POISON, duplicates_at_most=80)


@contextmanager
def started(rig: Rig, forwarder: Forwarder) -> Iterator[None]:
    rig.falco.faults.reject('"poison-')
    with forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        yield


def test_a_disk_that_does_not_answer(rig: Rig, balance: Balance, tmp_path: Path) -> None:
    trigger = tmp_path / "silent"
    forwarder = rig.forwarder(SHUTDOWNGRACE="500", SILENT=str(trigger))
    forwarder._command = [sys.executable, "-c", HANGS]
    with started(rig, forwarder):
        trigger.touch()
        stops(rig, forwarder)
    goes_on(rig, balance)


def test_blob_storage_that_does_not_answer(
    lasting: LastingAzurite, record_property: Report
) -> None:
    with open_rig(blob_store(Azurite(lasting.port).connection_string)) as rig:
        balance = Balance(rig, record_property)
        with started(rig, forwarder := rig.forwarder(SHUTDOWNGRACE="500")), silent(lasting):
            stops(rig, forwarder)
        goes_on(rig, balance)
