"""An endpoint that refuses every payload has a fault of its own: no event is at fault."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.books import Books


def test_refusing_everything_is_held_and_makes_no_dead_letter(rig: Rig, books: Books) -> None:
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
        books.wait()
        assert forwarder.stop() == 0
    books.check(dead=0)


def test_refusing_everything_for_a_moment_makes_no_dead_letter(rig: Rig, books: Books) -> None:
    """It refuses one event, and accepts everything again when the empty list asks."""
    rig.falco.faults.script("400 200*2 422 200*3 413*4 200 400*2 200*5 422")
    one_by_one = {"POSTCONCURRENCY": "1", "POSTBATCHMAXEVENTS": "1"}
    with rig.forwarder(POSTMAXRETRIES="10", **one_by_one) as forwarder:
        rig.publish(audit_bodies("once", 40, partitions=4))
        books.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    books.check(dead=0)
