"""Falco takes the connection and the request, and never answers."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance


def test_a_silent_endpoint_is_held_and_probed(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.silence(None)
    with rig.forwarder(POSTTIMEOUT="200", POSTMAXRETRIES="1") as forwarder:
        rig.publish(audit_bodies("silent", 100, records=3, partitions=4))
        forwarder.wait_until_unready("sink", "no answer within 0.2 s")
        assert forwarder.get("/livez").status_code == 200
        assert rig.falco.count == 0
        rig.falco.faults.clear()
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    balance.check()
