"""The endpoint is away for longer than the retries last: each of the three reactions."""

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

RETRIES = {"POSTMAXRETRIES": "2", "POSTRETRYINCREMENTALDELAY": "5"}
DEAD, ALIVE = 120, 60


def test_hold_keeps_everything_in_flight(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(**RETRIES, POSTEXHAUSTED="hold") as forwarder:
        with rig.falco.refusing():
            rig.publish(audit_bodies("during", 40, records=3, partitions=4))
            forwarder.wait_until_unready("sink", "events are held")
            scrape = forwarder.wait_until(
                lambda scrape: scrape.total("aks_audit_log_inflight_events") == DEAD
            )
            assert scrape.total("falco_aks_audit_log_events_errors") == 0
            assert set(rig.checkpoints().values()) <= {-1}
        rig.publish(audit_bodies("after", 20, records=3, partitions=4))
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    balance.check()


def test_deadletter_keeps_them_aside_and_goes_on(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(**RETRIES, POSTEXHAUSTED="deadletter") as forwarder:
        with rig.falco.refusing():
            rig.publish(audit_bodies("during", 40, records=3, partitions=4))
            balance.wait()
            assert forwarder.ready(), "it does what it was told, and goes on"
        rig.publish(audit_bodies("after", 20, records=3, partitions=4))
        balance.wait()
        settled = forwarder.metrics().by("aks_audit_log_events_settled_total", "outcome")
        assert settled == {"delivered": ALIVE, "dead-lettered": DEAD}
        assert forwarder.stop() == 0
    assert balance.reasons() == {"exhausted": DEAD}
    assert {letter.attempts for letter in balance.letters()} == {3}
    assert all("ConnectError" in letter.detail for letter in balance.letters())
    balance.check(dead=DEAD)


def test_drop_loses_them_and_says_so(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(**RETRIES, POSTEXHAUSTED="drop") as forwarder:
        with rig.falco.refusing():
            dropped = rig.publish(audit_bodies("during", 40, records=3, partitions=4))
            rig.wait_for_checkpoints()
        rig.publish(audit_bodies("after", 20, records=3, partitions=4))
        rig.wait_for_checkpoints()
        settled = forwarder.metrics().by("aks_audit_log_events_settled_total", "outcome")
        assert settled == {"delivered": ALIVE, "dropped": DEAD}
        assert len(forwarder.log("dropped after the last retry")) == DEAD
        assert forwarder.stop() == 0
    assert rig.account.lost == {key for each in dropped for key in each.audit}
    assert not balance.letters()
