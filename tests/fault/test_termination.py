import time
from collections.abc import Callable

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report


def test_sigterm_under_load_drains_and_repeats_nothing(
    stored_rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    rig = stored_rig
    rig.falco.faults.latency_ms = 20
    rig.publish(audit_bodies("load", 800, records=3, partitions=4, padding=2000))
    # So little in flight that most of it is still in the hub.
    little = {"INFLIGHTMAXBYTES": "1048576", "POSTBATCHMAXBYTES": "1048576"}
    with rig.forwarder(POSTBATCHMAXEVENTS="20", SHUTDOWNGRACE="120000", **little) as forwarder:
        rig.falco.wait_for(lambda: rig.falco.received.unique > 100)
        asked = time.monotonic()
        assert forwarder.stop() == 0
        took = time.monotonic() - asked
        assert not forwarder.stray()
        assert not forwarder.log(level="warning")
    assert set(rig.owners().values()) == {""}
    assert not rig.behind_checkpoints() - len(rig.account.lost), "all that was sent is checkpointed"
    left = len(rig.account.lost)
    assert left
    rig.falco.faults.latency_ms = 0
    with rig.forwarder() as forwarder:
        rig.account.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    report(record_property, "SIGTERM under load", rig, stop_s=round(took, 1), left=left)
    assert rig.account.duplicates == 0
