"""Falco closes the connection: in the middle of a request, or in place of the answer."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

BATCH = 5


def test_a_request_cut_in_the_middle_was_not_taken(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.cut(20)
    with rig.forwarder(POSTMAXRETRIES="1000") as forwarder:
        rig.publish(audit_bodies("cut", 100, records=3, partitions=4, padding=20_000))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    balance.check()


def test_a_request_without_an_answer_may_have_been_taken(rig: Rig, balance: Balance) -> None:
    """Nobody can tell, so it is sent again: each of these requests comes twice."""
    rig.falco.faults.close(8, taken=True)
    rig.falco.faults.close(8, taken=False)
    with rig.forwarder(POSTMAXRETRIES="1000", POSTBATCHMAXEVENTS=str(BATCH)) as forwarder:
        rig.publish(audit_bodies("closed", 40, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    assert balance.check(duplicates_at_most=8 * BATCH) >= 8
