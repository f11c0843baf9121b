from aks_audit.config.settings import BlobLocation, Secret
from aks_audit.storage import open_container
from testkit.rig import HUB, Store, open_rig
from testkit.streams.bodies import audit_bodies


def test_it_goes_on_where_the_go_forwarder_stopped(blob: Store) -> None:
    """aks-audit-log-go's SDK spells the group in its blobs' names as it is: $Default."""
    with open_rig(blob) as rig:
        done, left = list(audit_bodies("done", 6)), list(audit_bodies("left", 4))
        rig.emulator.broker.publish(HUB, "0", [each.body for each in done])
        last = rig.emulator.broker.hub(HUB).partition("0").last_event
        assert last is not None
        secret = Secret(blob.environment["BLOBSTORAGECONNECTIONSTRING"])
        container = open_container(BlobLocation(secret, blob.environment["BLOBCONTAINERNAME"]))
        container.upload_blob(
            f"{rig.namespace}/{HUB}/$Default/checkpoint/0",
            b"",
            metadata={
                "Sequencenumber": str(last.sequence_number),
                "Offset": str(last.offset),
            },
        )
        rig.publish(left)
        with rig.forwarder(STARTPOSITION="latest") as forwarder:
            forwarder.wait_for_log("going on where the earlier forwarder stopped")
            rig.account.wait()
            assert forwarder.stop() == 0
        assert rig.falco.count == sum(len(each.audit) for each in left)
        assert rig.checkpoints()["0"] == rig.last_sequence_numbers()["0"]
