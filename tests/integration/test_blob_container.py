from testkit.rig import Azurite, blob_store, open_rig
from testkit.streams.bodies import audit_bodies


def test_a_missing_container_is_named_and_waited_for(azurite: Azurite) -> None:
    store = blob_store(azurite.connection_string, create=False)
    with open_rig(store) as rig:
        rig.publish(audit_bodies("waiting", 8, partitions=4))
        with rig.forwarder() as forwarder:
            forwarder.wait_until_unready("source", "BLOBCONTAINERNAME")
            assert forwarder.get("/livez").status_code == 200
            store.create()
            rig.account.wait()
            forwarder.wait_until_ready()
            assert forwarder.stop() == 0
            assert not forwarder.stray()
        rig.account.check()
        assert rig.checkpoints() == rig.last_sequence_numbers()


def test_a_key_that_is_refused_is_named_and_not_shown(azurite: Azurite) -> None:
    wrong = "d3JvbmcgYnV0IHNlY3JldCBhY2NvdW50IGtleQ=="
    known = azurite.connection_string
    key = known.partition("AccountKey=")[2].partition(";")[0]
    store = blob_store(known.replace(key, wrong), create=False)
    with open_rig(store) as rig, rig.forwarder(LOGLEVEL="trace") as forwarder:
        forwarder.wait_until_unready("source", "failed to authenticate")
        for page in ("/", "/readyz", "/metrics"):
            assert wrong not in forwarder.get(page).text
        assert forwarder.stop() == 0
        assert wrong not in forwarder.text
