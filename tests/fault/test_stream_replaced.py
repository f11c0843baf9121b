"""A hub is made anew under its name, or fails over without data: nothing of it may be passed over.

Sequence numbers and offsets begin anew then. The checkpoints are those of a stream that is gone.
"""

from collections.abc import Callable

import pytest

from testkit.rig import HUB, Forwarder, Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

Record = Callable[[str, object], None]
Replace = Callable[[Rig], object]

REPLACED = "the stream was replaced: what the old one had behind the checkpoint is lost"
RESETS = "aks_audit_log_stream_resets_total"


def recreated(rig: Rig) -> None:
    rig.emulator.faults.recreate(HUB)


def recreated_unnoticed(rig: Rig) -> None:
    rig.emulator.faults.recreate(HUB, keep_creation_time=True)


def failed_over(rig: Rig) -> None:
    rig.emulator.faults.fail_over()


def failed_over_unnoticed(rig: Rig) -> None:
    rig.emulator.faults.fail_over(keep_creation_time=True)


WAYS = pytest.mark.parametrize(
    "replace", [recreated, recreated_unnoticed, failed_over, failed_over_unnoticed]
)
"""Unnoticed: the creation time of the hub does not tell, only the events do."""


def run_until_done(rig: Rig, **settings: str) -> Forwarder:
    """Start a forwarder, have it deliver and checkpoint all there is, stop it."""
    with rig.forwarder(**settings) as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    assert not forwarder.stray()
    return forwarder


@WAYS
@pytest.mark.parametrize("events", [8, 40, 80], ids=["shorter", "as long", "longer"])
def test_while_nobody_reads(
    rig: Rig, record_property: Record, replace: Replace, events: int
) -> None:
    """The new stream is shorter than the checkpoint, as long, or longer already."""
    rig.publish(audit_bodies("old", 40, partitions=4))
    run_until_done(rig)
    replace(rig)
    rig.publish(audit_bodies("new", events, partitions=4))
    forwarder = run_until_done(rig, STARTPOSITION="latest")
    replaced = forwarder.log(REPLACED)
    assert {line["partition"] for line in replaced} == {"0", "1", "2", "3"}
    assert all(line["checkpoint"] == 9 and line["goes_on_behind"] == -1 for line in replaced)
    report(record_property, f"{replace.__name__}, nobody reads", rig)
    rig.account.check()


@WAYS
@pytest.mark.parametrize("events", [8, 80], ids=["shorter", "longer"])
def test_while_it_is_read(rig: Rig, record_property: Record, replace: Replace, events: int) -> None:
    """What the client has received of the old stream is delivered, then all of the new one."""
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("old", 40, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        replace(rig)
        rig.publish(audit_bodies("new", events, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        scrape = forwarder.wait_until(lambda scrape: scrape.total(RESETS) >= 4)
        assert scrape.total("aks_audit_log_sequence_gaps_total") == 0
        rig.publish(audit_bodies("after", 8, partitions=4))
        rig.account.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    assert not forwarder.stray()
    report(record_property, f"{replace.__name__}, while it is read", rig)
    rig.account.check(duplicates_at_most=80)


def test_a_new_stream_that_is_empty_begins_at_its_first_event(rig: Rig) -> None:
    rig.publish(audit_bodies("old", 40, partitions=4))
    run_until_done(rig)
    recreated(rig)
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        forwarder.wait_for_log(REPLACED, count=4)
        rig.publish(audit_bodies("new", 8, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_each_replacement_counts_once(rig: Rig) -> None:
    for number in range(3):
        rig.publish(audit_bodies(f"stream-{number}", 40, partitions=4))
        forwarder = run_until_done(rig)
        assert len(forwarder.log(REPLACED)) == (4 if number else 0)
        recreated(rig)
    rig.account.check()


def test_latest_begins_behind_what_the_new_stream_has(rig: Rig) -> None:
    rig.publish(audit_bodies("old", 40, partitions=4))
    run_until_done(rig)
    recreated(rig)
    for each in audit_bodies("skipped", 80, partitions=4):
        rig.emulator.broker.publish(HUB, str(each.partition), [each.body])
    with rig.forwarder(STREAMRESET="latest") as forwarder:
        forwarder.wait_for_log(REPLACED, count=4, goes_on_behind=19)
        rig.publish(audit_bodies("new", 8, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_stop_reads_nothing_until_somebody_decides(rig: Rig) -> None:
    rig.publish(audit_bodies("old", 40, partitions=4))
    run_until_done(rig)
    recreated(rig)
    rig.publish(audit_bodies("new", 80, partitions=4))
    with rig.forwarder(STREAMRESET="stop") as forwarder:
        forwarder.wait_until_unready("source", "set STREAMRESET to earliest or latest")
        assert forwarder.get("/livez").status_code == 200
        assert forwarder.metrics().total("aks_audit_log_hub_events_total") == 0
        assert forwarder.stop() == 0
    assert rig.checkpoints() == dict.fromkeys("0123", 9)
    run_until_done(rig, STREAMRESET="earliest")
    rig.account.check()


def test_retention_is_not_another_stream(rig: Rig) -> None:
    """The event of the checkpoint is gone, and the hub is the same."""
    rig.publish(audit_bodies("old", 40, partitions=4))
    run_until_done(rig)
    hub = rig.emulator.broker.hub(HUB)
    with rig.emulator.broker.lock:
        for partition in hub.partitions:
            while len(partition):
                partition.drop_oldest()
    rig.publish(audit_bodies("new", 8, partitions=4))
    forwarder = run_until_done(rig)
    assert not forwarder.log(REPLACED)
    rig.account.check()
