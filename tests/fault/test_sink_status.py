"""Falco, or what stands before it, answers with faults of its own for a while."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

STATUSES = {500: None, 503: 1, 429: 1, 404: None, 401: None, 302: None}
"""With Retry-After, in seconds, where there is one."""


def test_one_fault_after_the_other_is_held_and_costs_nothing(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(POSTMAXRETRIES="1", POSTEXHAUSTED="hold") as forwarder:
        for status, retry_after in STATUSES.items():
            rig.falco.faults.answer(status, None, retry_after=retry_after)
            rig.publish(audit_bodies(f"while-{status}", 20, records=3, partitions=4))
            forwarder.wait_until_unready("sink", f"HTTP {status}")
            assert rig.account.lost, "nothing may be taken before it is well"
            assert forwarder.get("/livez").status_code == 200
            rig.falco.faults.clear()
            rig.account.wait()
            forwarder.wait_until_ready()
            rig.wait_for_checkpoints()  # else what is in doubt at the next 503 would come again
        balance.wait()
        posts = forwarder.metrics().by("aks_audit_log_posts_total", "status")
        assert posts.keys() == {"200", *map(str, STATUSES)}
        assert forwarder.stop() == 0
    balance.check()


def test_faults_that_come_and_go_cost_nothing(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.script("500*2 200 503 429 200*3 404*3 200 401*2 500 200*2 503*4")
    # A 503 makes doubtful what was accepted before: that costs duplicates, and has its own tests.
    settings = {"POSTMAXRETRIES": "2", "POSTBATCHMAXEVENTS": "7", "INDOUBTBODIES": "0"}
    with rig.forwarder(**settings) as forwarder:
        rig.publish(audit_bodies("flapping", 100, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    balance.check()
