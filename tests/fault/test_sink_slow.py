"""Falco answers slowly, but within POSTTIMEOUT: its way to slow the sender down."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance


def test_a_slow_answer_is_waited_for(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.script("delay:0.5*4 trickle:0.5*4")
    with rig.forwarder(POSTBATCHMAXEVENTS="100") as forwarder:
        rig.publish(audit_bodies("slow", 400, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert not forwarder.log("POST failed")
        assert forwarder.metrics().total("falco_aks_audit_log_events_retry") == 0
        assert forwarder.stop() == 0
    balance.check()
