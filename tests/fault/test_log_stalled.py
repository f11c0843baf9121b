"""Nobody reads the log any more, and the pipe is full: log lines are lost, and nothing else."""

from testkit.rig import Rig, eventually
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

PAGES = ("/livez", "/readyz", "/metrics", "/")


def publish_more_than_the_log_takes(rig: Rig) -> None:
    """Publish events whose log lines fill the pipe and the queue, a line for each of 8000."""
    rig.publish(audit_bodies("unread", 2000, records=4, partitions=4))


def test_forwarding_and_probes_go_on(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(LOGLEVEL="debug") as forwarder:
        forwarder.wait_for_log("partition claimed", count=4)
        with forwarder.unread():
            publish_more_than_the_log_takes(rig)
            balance.wait()
            rig.wait_for_checkpoints()
            assert [forwarder.get(page).status_code for page in PAGES] == [200] * len(PAGES)
        lost = forwarder.wait_for_log("log lines were lost: nobody read them")
        assert sum(line["lines"] for line in lost) > 0
        assert forwarder.stop() == 0
        assert not forwarder.stray()
        assert forwarder.log("stopped")
    balance.check()


def test_it_stops_in_order_although_nobody_reads_on(rig: Rig, balance: Balance) -> None:
    with rig.forwarder(LOGLEVEL="debug") as forwarder:
        forwarder.wait_for_log("partition claimed", count=4)
        with forwarder.unread():
            publish_more_than_the_log_takes(rig)
            balance.wait()
            forwarder.terminate()
            eventually(lambda: not forwarder.running, "the end")
        assert forwarder.wait() == 0
        assert not forwarder.log("stopped"), "the pipe took everything: it was not full"
    assert set(rig.owners().values()) == {""}
    balance.check()
