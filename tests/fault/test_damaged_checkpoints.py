"""Checkpoints that are damaged, incomplete, foreign or gone: each stops its own partition only."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from testkit.rig import HUB, Rig, Store, eventually, open_rig
from testkit.rig.rig import GROUP
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

Record = Callable[[str, object], None]
Fields = Mapping[str, str]

OFFSETS = pytest.mark.parametrize(
    "offset", ["", "no offset", "1:2:3", "999999999", "null", None], ids=repr
)
NUMBERS = pytest.mark.parametrize("number", ["", "twelve", "-7", "12x", None], ids=repr)


class Tampering:
    """Reads and changes the checkpoints of a rig's store, whichever it is."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._known = rig.store.environment
        self._blobs = "BLOBCONTAINERNAME" in self._known

    def _container(self) -> ContainerClient:
        return ContainerClient.from_connection_string(
            self._known["BLOBSTORAGECONNECTIONSTRING"], self._known["BLOBCONTAINERNAME"]
        )

    def _blob(self, partition: str) -> str:
        return f"{self._rig.namespace}/{HUB}/{GROUP}/checkpoint/{partition}".lower()

    def _sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(self._known["CHECKPOINTFILE"], timeout=60)
        with connection:
            assert connection.execute(statement, values).rowcount == 1
        connection.close()

    def change(self, partition: str, field: str, value: str | None) -> None:
        """Give a field of a checkpoint another value, or none where the store can do that."""
        if not self._blobs:
            column = {"offset": '"offset"', "sequencenumber": "sequence_number"}[field]
            statement = f"UPDATE checkpoint SET {column} = ? WHERE partition = ?"
            self._sql(statement, value or "", partition)
            return
        with self._container() as container:
            blob = container.get_blob_client(self._blob(partition))
            metadata = {**blob.get_blob_properties().metadata, field: value or ""}
            if value is None:
                del metadata[field]
            blob.set_blob_metadata(metadata)

    def delete(self, partition: str) -> None:
        """Delete a checkpoint."""
        if self._blobs:
            with self._container() as container:
                container.delete_blob(self._blob(partition))
        else:
            self._sql("DELETE FROM checkpoint WHERE partition = ?", partition)

    def numbers(self) -> dict[str, str]:
        """Return what stands where the sequence numbers belong, by partition."""
        if self._blobs:
            with self._container() as container:
                found = container.list_blobs(self._blob(""), include=["metadata"])
                return {each.name[-1]: each.metadata["sequencenumber"] for each in found}
        connection = sqlite3.connect(self._known["CHECKPOINTFILE"], timeout=60)
        rows = connection.execute("SELECT partition, sequence_number FROM checkpoint").fetchall()
        connection.close()
        return {partition: str(number) for partition, number in rows}

    def offsets(self) -> dict[str, str]:
        """Return what the store holds as offsets, by partition."""
        found = self._rig.store.sdk.list_checkpoints(self._rig.namespace, HUB, GROUP)
        return {str(each["partition_id"]): str(each["offset"]) for each in found}


def deliver(rig: Rig, name: str, start: str = "latest") -> None:
    """Have a forwarder deliver and checkpoint some events, and stop."""
    rig.publish(audit_bodies(name, 40, partitions=4))
    with rig.forwarder(STARTPOSITION=start) as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    assert not forwarder.stray()


@pytest.fixture
def begun(stored_rig: Rig) -> Rig:
    """A rig whose partitions have checkpoints."""
    deliver(stored_rig, "first", "earliest")
    return stored_rig


@OFFSETS
def test_a_sequence_number_is_enough(begun: Rig, offset: str | None) -> None:
    """And the checkpoint is whole afterwards."""
    before = Tampering(begun).offsets()
    Tampering(begun).change("1", "offset", offset)
    deliver(begun, "second")
    begun.account.check()
    after = Tampering(begun).offsets()
    assert after["1"].isdecimal()
    assert int(after["1"]) > int(before["1"])


@NUMBERS
def test_an_unusable_checkpoint_stops_its_own_partition(
    begun: Rig, record_property: Record, number: str | None
) -> None:
    tampering = Tampering(begun)
    tampering.change("2", "sequencenumber", number)
    second = begun.publish(audit_bodies("second", 40, partitions=4))
    others = {key for each in second if each.partition != 2 for key in each.audit}
    with begun.forwarder(STARTPOSITION="latest") as forwarder:
        begun.falco.wait_for(lambda: others <= begun.falco.receipts.keys())
        forwarder.wait_until_unready("source", "cannot be used")
        assert "partition 2 is not read" in forwarder.unready()["source"]
        assert forwarder.get("/livez").status_code == 200
        (line,) = forwarder.log("a partition is not read")
        assert "correct it, or delete the checkpoint" in line["reason"]
        assert not begun.account.unexpected
        tampering.change("2", "sequencenumber", "9")
        begun.account.wait()
        begun.wait_for_checkpoints()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    report(record_property, "an unusable checkpoint, mended later", begun)
    begun.account.check()


def test_a_checkpoint_that_vanishes_is_made_again(begun: Rig) -> None:
    with begun.forwarder(STARTPOSITION="latest") as forwarder:
        begun.publish(audit_bodies("second", 8, partitions=4))
        begun.account.wait()
        begun.wait_for_checkpoints()
        Tampering(begun).delete("3")
        assert "3" not in begun.checkpoints()
        begun.publish(audit_bodies("third", 8, partitions=4))
        begun.account.wait()
        begun.wait_for_checkpoints()
        assert forwarder.stop() == 0
    deliver(begun, "fourth")
    begun.account.check()


def test_a_checkpoint_of_a_quiet_partition_is_made_again(begun: Rig) -> None:
    """Else what comes while nobody reads would be behind STARTPOSITION."""
    tampering = Tampering(begun)
    with begun.forwarder(STARTPOSITION="latest") as forwarder:
        forwarder.wait_for_log("partition claimed", count=4)
        tampering.delete("0")
        tampering.change("1", "sequencenumber", "broken")
        eventually(lambda: tampering.numbers() == dict.fromkeys("0123", "9"), "whole checkpoints")
        forwarder.kill()
    begun.release_owners()
    deliver(begun, "second")
    begun.account.check()


def test_another_spelling_names_the_same_hub(begun: Rig) -> None:
    begun.publish(audit_bodies("second", 40, partitions=4))
    with begun.forwarder(EVENTHUBNAME=HUB.upper(), STARTPOSITION="latest") as forwarder:
        begun.account.wait()
        begun.wait_for_checkpoints()
        assert forwarder.stop() == 0
    begun.account.check()


def test_the_go_forwarder_s_checkpoint_needs_no_offset(blob: Store) -> None:
    with open_rig(blob) as rig:
        goes_on_behind_go(rig)


def goes_on_behind_go(rig: Rig) -> None:
    known = rig.store.environment
    rig.publish(audit_bodies("first", 40, partitions=4))
    with ContainerClient.from_connection_string(
        known["BLOBSTORAGECONNECTIONSTRING"], known["BLOBCONTAINERNAME"]
    ) as container:
        for partition in range(4):
            name = f"{rig.namespace}/{HUB}/{GROUP}/checkpoint/{partition}"
            container.upload_blob(name, b"", metadata={"sequencenumber": "-1"})
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_a_sqlite_file_that_says_nothing_of_streams_is_read(rig: Rig) -> None:
    """Version 1.0 knows no such table, and moves checkpoints on without it."""
    deliver(rig, "first", "earliest")
    connection = sqlite3.connect(Path(rig.store.environment["CHECKPOINTFILE"]))
    with connection:
        connection.execute("DROP TABLE stream")
        connection.execute("UPDATE checkpoint SET sequence_number = 7, \"offset\" = ''")
    connection.close()
    deliver(rig, "second")
    rig.account.check(duplicates_at_most=8)
