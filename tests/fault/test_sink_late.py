"""Falco answers after POSTTIMEOUT, and has taken the events all the same: they come twice."""

from testkit.rig import Forwarder, Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

BATCH, LATE = 10, 12
TIMEOUT_S = 0.3


def timeouts(forwarder: Forwarder) -> int:
    return int(forwarder.metrics().total("aks_audit_log_posts_total", status="timeout"))


def test_what_was_taken_late_comes_again_and_nothing_is_lost(rig: Rig, balance: Balance) -> None:
    rig.falco.faults.delay(3 * TIMEOUT_S, LATE, taken=True)
    settings = {
        "POSTTIMEOUT": str(int(TIMEOUT_S * 1000)),
        "POSTMAXRETRIES": "2",
        "POSTBATCHMAXEVENTS": str(BATCH),
    }
    with rig.forwarder(**settings) as forwarder:
        rig.publish(audit_bodies("late", 40, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        late = timeouts(forwarder)
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    assert late >= LATE
    # One batch for each POST that was given up, one event for each of the probes.
    assert balance.check(duplicates_at_most=late * BATCH) >= LATE


def test_the_probes_of_a_hold_repeat_one_event_each(rig: Rig, balance: Balance) -> None:
    """So an endpoint that takes everything and answers too late gets few duplicates."""
    rig.falco.faults.silence(None, taken=True)
    settings = {"POSTTIMEOUT": "150", "POSTMAXRETRIES": "0", "POSTBATCHMAXEVENTS": str(BATCH)}
    with rig.forwarder(**settings, POSTCONCURRENCY="2") as forwarder:
        rig.publish(audit_bodies("held", 40, records=3, partitions=4))
        forwarder.wait_until_unready("sink", "no answer")
        forwarder.wait_for_log("POST failed", count=12)
        held = timeouts(forwarder)
        rig.falco.faults.clear()
        balance.wait()
        # On a busy machine an answer may be late once more, to a batch or to the last probe.
        afterwards = timeouts(forwarder) - held
        assert forwarder.stop() == 0
    balance.check(duplicates_at_most=2 * BATCH + (held - 2) + afterwards * BATCH)
