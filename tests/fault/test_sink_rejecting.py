"""An endpoint that rejects every payload is faulty: no event becomes a dead letter."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance


def test_refusing_everything_is_held_and_dead_letters_nothing(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(POSTMAXRETRIES="1") as forwarder:
        for status in (400, 413, 422):
            rig.falco.faults.answer(status, None)
            rig.publish(audit_bodies(f"refused-{status}", 40, records=3, partitions=4))
            wanted = f"it refuses even an empty list: HTTP {status}"
            forwarder.wait_until_unready("sink", wanted)
            assert forwarder.get("/livez").status_code == 200
            rig.falco.faults.clear()
            rig.account.wait()
            forwarder.wait_until_ready()
        balance.wait()
        assert forwarder.stop() == 0
    balance.check(dead=0)


def test_a_short_fault_dead_letters_nothing(rig: Rig, balance: Balance) -> None:
    """It refuses the one event, and accepts again when it is asked whether it refuses all."""
    rig.falco.faults.script("400 200*2 422 200*3 413*4 200 400*2 200*5 422")
    one_by_one = {"POSTCONCURRENCY": "1", "POSTBATCHMAXEVENTS": "1"}
    with rig.forwarder(POSTMAXRETRIES="10", **one_by_one) as forwarder:
        rig.publish(audit_bodies("once", 40, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    balance.check(dead=0)
