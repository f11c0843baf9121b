"""There is no room for checkpoints: forwarding goes on, and they are written later."""

import resource

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance


def test_a_full_disk_costs_no_event(rig: Rig, balance: Balance) -> None:
    """A limit on the size of its files, from outside: SQLite sees a disk that takes no more."""
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, records=3, partitions=4))
        balance.wait()
        before = rig.checkpoints()
        unlimited = resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, (100, -1))
        rig.publish(audit_bodies("during", 80, records=3, partitions=4))
        rig.account.wait()
        forwarder.wait_for_log("checkpoint not written, trying again later")
        scrape = forwarder.wait_until(
            lambda scrape: scrape.total("aks_audit_log_checkpoint_unwritten_seconds") > 0
        )
        assert scrape.total("aks_audit_log_checkpoint_writes_total", result="failed") > 0
        assert forwarder.get("/livez").status_code == 200
        assert rig.checkpoints() == before
        resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, unlimited)
        rig.wait_for_checkpoints()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    balance.check()
