"""Falco refuses connections: for a moment, then for long."""

import time

from tests.fault.books import Books
from tests.rig import Rig, audit_bodies


def test_a_moment_without_a_listener_costs_nothing(rig: Rig, books: Books) -> None:
    with rig.forwarder(POSTMAXRETRIES="1000") as forwarder:
        rig.publish(audit_bodies("before", 8, partitions=4))
        rig.account.wait()
        with rig.falco.refusing():
            rig.publish(audit_bodies("refused", 40, records=5, partitions=4))
            forwarder.wait_for_log("POST failed")
            assert forwarder.ready(), "it has retries left"
        books.wait()
        assert forwarder.stop() == 0
    books.check()


def test_delivery_resumes_within_seconds_of_a_long_outage(rig: Rig, books: Books) -> None:
    """Long for the schedule: the pauses between the probes have reached their ceiling."""
    settings = {"POSTMAXRETRIES": "1", "POSTRETRYINCREMENTALDELAY": "2000"}
    with rig.forwarder(**settings) as forwarder:
        rig.publish(audit_bodies("before", 8, partitions=4))
        rig.account.wait()
        with rig.falco.refusing():
            rig.publish(audit_bodies("during", 400, records=5, partitions=4))
            forwarder.wait_until_unready("sink", "ConnectError")
            # The third failure is followed by a pause of 4 s, the longest there is.
            forwarder.wait_for_log("POST failed", count=6)
            assert forwarder.get("/livez").status_code == 200
            assert forwarder.metrics().total("aks_audit_log_holding") == 1
        back = time.monotonic()
        rig.account.wait()
        took_s = time.monotonic() - back
        forwarder.wait_until_ready()
        books.wait()
        assert forwarder.stop() == 0
    books.check()
    assert took_s < 5, "the bound that is promised"
