from collections import Counter

from testkit.rig import Forwarder, Rig, eventually
from testkit.streams.bodies import audit_bodies


def owned_by_each(rig: Rig) -> list[int]:
    """Count the partitions of each owner, fewest first."""
    return sorted(Counter(owner for owner in rig.owners().values() if owner).values())


def received_by(forwarder: Forwarder) -> float:
    return forwarder.metrics().total("aks_audit_log_hub_events_total")


def test_two_share_the_partitions_and_one_inherits_them(stored_rig: Rig) -> None:
    rig = stored_rig
    with rig.forwarder() as one:
        one.wait_for_log("partition claimed", count=4)
        rig.publish(audit_bodies("alone", 20, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        with rig.forwarder() as other:
            other.wait_for_log("partition claimed")
            eventually(lambda: owned_by_each(rig) in ([1, 3], [2, 2]), "shared partitions")
            # Both receive: the one that lost partitions has released them.
            one.wait_for_log("partition released")
            before = received_by(one), received_by(other)
            rig.publish(audit_bodies("shared", 40, partitions=4))
            rig.account.wait()
            rig.wait_for_checkpoints()
            assert received_by(one) > before[0]
            assert received_by(other) > before[1]

            assert one.stop() == 0
            rig.publish(audit_bodies("inherited", 40, partitions=4))
            rig.account.wait()
            rig.wait_for_checkpoints()
            assert owned_by_each(rig) == [4]
            assert other.stop() == 0
            assert not one.stray() + other.stray()
    # All was delivered and checkpointed whenever a partition changed hands.
    rig.account.check()


def test_partitions_change_hands_under_load(rig: Rig) -> None:
    rig.falco.faults.latency_ms = 20
    rig.publish(audit_bodies("backlog", 600, records=2, partitions=4))
    with rig.forwarder(POSTBATCHMAXEVENTS="5", POSTCONCURRENCY="2") as one:
        one.wait_for_log("partition claimed", count=4)
        rig.falco.wait_for(lambda: rig.falco.count > 100)
        with rig.forwarder(POSTBATCHMAXEVENTS="5", POSTCONCURRENCY="2") as other:
            other.wait_for_log("partition claimed")
            behind = rig.behind_checkpoints()
            rig.falco.faults.latency_ms = 0
            rig.account.wait()
            rig.wait_for_checkpoints()
            assert one.stop() == 0
            assert other.stop() == 0
    rig.account.check(duplicates_at_most=behind)
