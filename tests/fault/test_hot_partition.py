"""One partition has all the traffic, and another one next; the links break meanwhile."""

from collections.abc import Callable, Iterator

import pytest

from testkit.rig import HUB, Rig, Store, open_rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

Record = Callable[[str, object], None]
PARTITIONS = 32
ROUNDS = 4


@pytest.fixture
def wide_rig(sqlite: Store) -> Iterator[Rig]:
    with open_rig(sqlite, partitions=PARTITIONS) as running:
        yield running


def publish_to(rig: Rig, name: str, partition: int) -> None:
    """Put all of a traffic into one partition."""
    some = audit_bodies(name, 200, records=5, padding=500)
    rig.publish(type(each)(each.body, partition, each.audit) for each in some)


def cut(rig: Rig, hot: int) -> None:
    assert rig.emulator.faults.cut(HUB, str(hot))


def cut_all(rig: Rig, _hot: int) -> None:
    assert rig.emulator.faults.cut()


def detach(rig: Rig, hot: int) -> None:
    assert rig.emulator.faults.detach(HUB, str(hot), condition="amqp:internal-error")


@pytest.mark.parametrize("fault", [cut, cut_all, detach])
def test_links_break_while_credit_moves(
    wide_rig: Rig, record_property: Record, fault: Callable[[Rig, int], None]
) -> None:
    rig = wide_rig
    with rig.forwarder() as forwarder:
        forwarder.wait_for_log("partition claimed", count=PARTITIONS)
        for number in range(ROUNDS):
            hot = 7 * number
            before = rig.falco.received.unique
            rig.falco.faults.latency_ms = 20  # so that the fault finds it under way
            publish_to(rig, f"hot-{number}", hot)
            rig.falco.wait_for(lambda before=before: rig.falco.received.unique >= before + 50)  # type: ignore[misc]
            fault(rig, hot)
            rig.falco.faults.latency_ms = 0
            publish_to(rig, f"next-{number}", hot + 1)
            rig.account.wait()
        rig.wait_for_checkpoints()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    report(record_property, f"links broken ({fault.__name__}) under a hot partition", rig)
    assert rig.account.duplicates == 0


def test_many_partitions_start_and_stop(sqlite: Store, record_property: Record) -> None:
    with open_rig(sqlite, partitions=256) as rig, rig.forwarder() as forwarder:
        rig.publish(audit_bodies("one-each", 256, partitions=256))
        rig.account.wait(120)
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        assert set(rig.owners().values()) == {""}
        assert len(rig.owners()) == 256
        report(record_property, "256 partitions started and stopped", rig)
        assert rig.account.duplicates == 0
