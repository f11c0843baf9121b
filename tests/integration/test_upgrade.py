"""What 1.0 left behind is read: its checkpoints, and its dead letters."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from azure.storage.blob import ContainerClient

from testkit.rig import HUB, Rig
from testkit.streams.bodies import audit_bodies

DATA = Path(__file__).parents[1] / "data" / "1.0"
NAMESPACE = "localhost:5672"
"""The one in the data, in place of the emulator's address."""
REFUSED = ("done-3-1", "ResponseComplete")


def leave_behind(rig: Rig) -> None:
    """Have the hub and the store of a rig as 1.0 left them."""
    for each in audit_bodies("done", 8, records=2, partitions=4):
        rig.emulator.broker.publish(HUB, str(each.partition), [each.body])
    if file := rig.store.environment.get("CHECKPOINTFILE"):
        leave_files(Path(file), rig.namespace)
    else:
        leave_blobs(rig)


def leave_files(file: Path, namespace: str) -> None:
    shutil.copy(DATA / "checkpoints.db", file)
    shutil.copytree(DATA / "deadletters", f"{file}.deadletters")
    connection = sqlite3.connect(file)
    with connection:
        for table in ("checkpoint", "ownership"):
            connection.execute(f"UPDATE {table} SET namespace = ?", (namespace,))
    connection.close()


def leave_blobs(rig: Rig) -> None:
    known = rig.store.environment
    with ContainerClient.from_connection_string(
        known["BLOBSTORAGECONNECTIONSTRING"], known["BLOBCONTAINERNAME"]
    ) as container:
        for blob in json.loads((DATA / "blobs.json").read_text()):
            name = blob["name"].replace(NAMESPACE, rig.namespace)
            container.upload_blob(name, blob["body"].encode(), metadata=blob["metadata"])


def run(rig: Rig, command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "aks_audit", command],
        env=rig.environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=180,
        check=True,
    ).stdout


def test_it_goes_on_where_1_0_stopped(stored_rig: Rig) -> None:
    rig = stored_rig
    leave_behind(rig)
    assert rig.checkpoints() == rig.last_sequence_numbers()
    rig.publish(audit_bodies("left", 8, partitions=4))
    with rig.forwarder(STARTPOSITION="earliest") as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        assert not forwarder.log(level="warning")
    rig.account.check()  # and nothing of what 1.0 had delivered came again


def test_a_dead_letter_of_1_0_is_listed_and_replayed(stored_rig: Rig) -> None:
    rig = stored_rig
    leave_behind(rig)
    (letter,) = map(json.loads, run(rig, "deadletters").splitlines())
    assert (letter["auditId"], letter["reason"], letter["status"]) == (REFUSED[0], "rejected", 400)
    assert (letter["partition"], letter["sequenceNumber"]) == ("3", 0)
    run(rig, "replay")
    assert rig.falco.receipts == {REFUSED: 1}
    assert run(rig, "deadletters") == ""
