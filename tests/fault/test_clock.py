"""The wall clock jumps by a day, there and back, under a running forwarder."""

import signal
import sys
from collections.abc import Callable

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

FORWARDER = """
import signal, time

real, ahead_s = time.time, 0.0
time.time = lambda: real() + ahead_s

def jump(number, _):
    global ahead_s
    ahead_s += 86_400 if number == signal.SIGUSR1 else -86_400

signal.signal(signal.SIGUSR1, jump)
signal.signal(signal.SIGUSR2, jump)

from aks_audit.__main__ import main
main()
"""


def test_a_clock_that_jumps_stops_nothing(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    forwarder = rig.forwarder()
    forwarder._command = [sys.executable, "-c", FORWARDER]
    rig.falco.faults.script("429:1 200*5 429:1")  # Retry-After is reckoned with as well
    with forwarder:
        forwarder.wait_for_log("partition claimed", count=4)
        ahead, back = signal.SIGUSR1, signal.SIGUSR2
        for number, jump in enumerate((ahead, back, back, ahead)):
            forwarder.signal(jump)
            rig.publish(audit_bodies(f"jump-{number}", 40, records=2, partitions=4))
            rig.account.wait()
            rig.wait_for_checkpoints()
            forwarder.wait_until_ready()
            assert forwarder.get("/livez").status_code == 200
            scrape = forwarder.metrics()
            assert min(scrape.by("aks_audit_log_checkpoint_age_seconds", "partition").values()) >= 0
            assert scrape.total("aks_audit_log_checkpoint_unwritten_seconds") >= 0
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    report(record_property, "clock jumps by a day", rig)
    assert rig.account.duplicates == 0
