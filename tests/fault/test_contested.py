"""Two programs that read with one consumer group: told where it is so, and only there."""

from collections.abc import Callable
from pathlib import Path

from testkit.rig import Forwarder, Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

Record = Callable[[str, object], None]

TOLD = "another program reads the consumer group: give each its own CONSUMERGROUP"
CONTESTED = "aks_audit_log_partitions_contested_total"


def told(forwarder: Forwarder) -> None:
    line = forwarder.wait_for_log(TOLD)[0]
    assert line["consumer_group"] == "$Default"
    forwarder.wait_until_unready("source", "another program reads the consumer group")
    assert forwarder.get("/livez").status_code == 200
    assert forwarder.metrics().total(CONTESTED) > 0


def test_a_second_deployment_with_a_store_of_its_own(
    rig: Rig, tmp_path: Path, record_property: Record
) -> None:
    """Each takes the partitions back in each of its rounds; all arrives, some of it twice."""
    with (
        rig.forwarder() as one,
        rig.forwarder(CHECKPOINTFILE=str(tmp_path / "other.sqlite")) as other,
    ):
        rig.publish(audit_bodies("contested", 40, partitions=4))
        told(one)
        told(other)
        rig.account.wait()
        assert one.stop() == 0
        assert other.stop() == 0
    report(record_property, "two programs in one consumer group", rig)
    rig.account.check(duplicates_at_most=40)


def test_replicas_that_share_a_store_are_not_told(stored_rig: Rig) -> None:
    rig = stored_rig
    with rig.forwarder() as one:
        one.wait_for_log("partition claimed", count=4)
        with rig.forwarder() as other:
            other.wait_for_log("partition claimed", count=2)
            rig.publish(audit_bodies("shared", 40, partitions=4))
            rig.account.wait()
            for each in (one, other):
                assert not each.log(TOLD)
                assert each.metrics().total(CONTESTED) == 0
            assert other.stop() == 0
        assert one.stop() == 0
    rig.account.check(duplicates_at_most=40)
