"""Falco refuses connections: for a moment, then for long."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance


def test_a_moment_without_a_listener_costs_nothing(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(POSTMAXRETRIES="1000") as forwarder:
        rig.publish(audit_bodies("before", 8, partitions=4))
        rig.wait_for_checkpoints()  # nothing is in doubt
        with rig.falco.refusing():
            rig.publish(audit_bodies("refused", 40, records=5, partitions=4))
            forwarder.wait_for_log("POST failed")
            assert forwarder.ready(), "it has retries left"
        balance.wait()
        assert forwarder.stop() == 0
    balance.check()


def test_the_first_probe_after_a_long_outage_resumes_delivery(rig: Rig, balance: Balance) -> None:
    """Long for the schedule: the pauses between the probes have reached their ceiling."""
    settings = {"POSTMAXRETRIES": "1", "POSTRETRYINCREMENTALDELAY": "2000"}
    with rig.forwarder(**settings) as forwarder:
        rig.publish(audit_bodies("before", 8, partitions=4))
        rig.wait_for_checkpoints()  # nothing is in doubt
        with rig.falco.refusing():
            rig.publish(audit_bodies("during", 400, records=5, partitions=4))
            forwarder.wait_until_unready("sink", "ConnectError")
            # The third failure is followed by a pause of 4 s, the longest there is.
            forwarder.wait_for_log("POST failed", count=6)
            assert forwarder.get("/livez").status_code == 200
            assert forwarder.metrics().total("aks_audit_log_holding") == 1
        failed = len(forwarder.log("POST failed"))
        rig.account.wait()
        forwarder.wait_until_ready()
        balance.wait()
        # One more may have failed just before, and be logged late.
        assert len(forwarder.log("POST failed")) <= failed + 1
        assert forwarder.stop() == 0
    balance.check()
