import time
from collections.abc import Iterable
from datetime import UTC, datetime

from testkit.rig import HUB, Rig, eventually
from testkit.streams.bodies import audit_bodies
from testkit.streams.stream import Published


def publish_unaccounted(rig: Rig, hub_events: Iterable[Published]) -> None:
    for each in hub_events:
        rig.emulator.broker.publish(HUB, str(each.partition), [each.body])


def test_latest_is_settled_when_a_partition_is_first_claimed(stored_rig: Rig) -> None:
    rig = stored_rig
    publish_unaccounted(rig, audit_bodies("old", 6, partitions=3))  # the fourth stays empty
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.wait_for_first_claims()
        forwarder.kill()
    assert rig.checkpoints() == rig.last_sequence_numbers()
    rig.release_owners()
    rig.publish(audit_bodies("while-away", 8, partitions=4))
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    rig.account.check()


def test_latest_does_not_skip_what_comes_after_an_orderly_stop(rig: Rig) -> None:
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.wait_for_first_claims()
        assert forwarder.stop() == 0
    rig.publish(audit_bodies("while-away", 4, partitions=4))
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_earliest_is_all_there_is(rig: Rig) -> None:
    rig.publish(audit_bodies("old", 9, partitions=3))
    with rig.forwarder(STARTPOSITION="earliest") as forwarder:
        rig.account.wait()
        rig.publish(audit_bodies("new", 4, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_a_checkpoint_goes_before_the_start_position(rig: Rig) -> None:
    rig.publish(audit_bodies("first", 4, partitions=4))
    with rig.forwarder(STARTPOSITION="earliest") as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.publish(audit_bodies("second", 4, partitions=4))
    for position in ("earliest", "2020-01-01T00:00:00Z"):
        with rig.forwarder(STARTPOSITION=position) as forwarder:
            rig.account.wait()
            forwarder.wait_for_log("partition claimed", count=4)
            assert forwarder.stop() == 0
    rig.account.check()


def between() -> datetime:
    """Wait until the service's clock, in whole milliseconds, has left this moment behind."""
    before = time.time_ns() // 1_000_000
    eventually(lambda: time.time_ns() // 1_000_000 > before + 1)
    moment = datetime.now(UTC)
    after = time.time_ns() // 1_000_000
    eventually(lambda: time.time_ns() // 1_000_000 > after + 1)
    return moment


def test_a_moment_divides_each_partition(rig: Rig) -> None:
    # Partition 0 has events on both sides of the moment, 1 only before, 2 only after it, 3 none.
    publish_unaccounted(rig, audit_bodies("before", 6, partitions=2))
    moment = between()
    after = audit_bodies("after", 9, partitions=3)
    rig.publish(each for each in after if each.partition != 1)
    with rig.forwarder(STARTPOSITION=f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z") as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        rig.publish(audit_bodies("later", 4, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()
