"""Event Hubs breaks under load: nothing is lost, and it goes on by itself."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

from testkit.rig import HUB, Forwarder, Rig, eventually
from testkit.streams.bodies import audit_bodies
from tests.fault.report import long, report

Record = Callable[[str, object], None]


def wait_for_more(rig: Rig, count: int) -> None:
    goal = rig.falco.received.unique + count
    rig.falco.wait_for(lambda: rig.falco.received.unique >= goal)


def finish(rig: Rig, forwarder: Forwarder) -> float:
    """Publish once more; returns how long it took until all had arrived."""
    since = time.monotonic()
    rig.publish(audit_bodies("after", 8, partitions=rig.partitions))
    rig.account.wait()
    took = time.monotonic() - since
    rig.wait_for_checkpoints()
    forwarder.wait_until_ready()
    assert forwarder.get("/livez").status_code == 200
    assert forwarder.stop() == 0
    assert not forwarder.stray()
    return round(took, 1)


def cut(rig: Rig) -> None:
    assert rig.emulator.faults.cut()


def cut_one(rig: Rig) -> None:
    assert rig.emulator.faults.cut(HUB, "2")


def detach(rig: Rig) -> None:
    assert rig.emulator.faults.detach(condition="amqp:internal-error")


def restart(rig: Rig) -> None:
    rig.emulator.faults.stop()
    rig.emulator.faults.start()


@pytest.mark.parametrize("fault", [cut, cut_one, detach, restart])
def test_broken_again_and_again_under_load(
    rig: Rig, record_property: Record, fault: Callable[[Rig], None]
) -> None:
    rig.falco.faults.latency_ms = 10
    with rig.forwarder(POSTBATCHMAXEVENTS="10") as forwarder:
        for number in range(3):
            forwarder.wait_until_ready()
            rig.publish(audit_bodies(f"load-{number}", 200, records=2, partitions=4))
            wait_for_more(rig, 50)
            eventually(lambda: len(rig.emulator.counters().receivers) == 4, "four receivers")
            fault(rig)
        rig.falco.faults.latency_ms = 0
        took = finish(rig, forwarder)
    report(record_property, f"AMQP {fault.__name__} 3 times", rig, back_after_s=took)
    assert rig.account.duplicates == 0


def test_gone_for_a_while(rig: Rig, record_property: Record) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.emulator.faults.stop()
        rig.publish(audit_bodies("meanwhile", 40, partitions=4))
        forwarder.wait_until_unready("source", "")
        rig.emulator.faults.start()
        took = finish(rig, forwarder)
    report(record_property, "Event Hubs gone for a while", rig, back_after_s=took)
    assert rig.account.duplicates == 0


def test_silent_for_a_moment(rig: Rig, record_property: Record) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.emulator.faults.silence()
        rig.publish(audit_bodies("meanwhile", 40, partitions=4))
        rig.emulator.faults.recover()
        took = finish(rig, forwarder)
    report(record_property, "Event Hubs silent for a moment", rig, back_after_s=took)
    assert rig.account.duplicates == 0


@long
def test_silent_until_it_is_noticed(rig: Rig, record_property: Record) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.emulator.faults.silence()
        since = time.monotonic()
        rig.publish(audit_bodies("meanwhile", 40, partitions=4))
        forwarder.wait_for_log("rebuilding the client")
        noticed = round(time.monotonic() - since, 1)
        assert "source" in forwarder.unready()
        rig.emulator.faults.recover()
        took = finish(rig, forwarder)
    report(record_property, "Event Hubs silent", rig, noticed_s=noticed, back_after_s=took)


def test_auth_refused_while_running(rig: Rig, record_property: Record) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.emulator.faults.refuse_auth(401)
        rig.emulator.faults.cut()
        rig.publish(audit_bodies("meanwhile", 40, partitions=4))
        forwarder.wait_until_unready("source", "Authentication")
        rig.emulator.faults.grant_auth()
        took = finish(rig, forwarder)
    report(record_property, "authentication refused, then granted", rig, back_after_s=took)
    assert rig.account.duplicates == 0


@contextmanager
def foreign_reader(rig: Rig, partition: str, level: int) -> Iterator[None]:
    """Read a partition as somebody who knows nothing of our checkpoint store."""
    opened = threading.Event()

    def on_event(_: PartitionContext, __: EventData | None) -> None:
        opened.set()

    client = EventHubConsumerClient.from_connection_string(
        rig.emulator.connection_string, "$Default", eventhub_name=HUB
    )
    reading = threading.Thread(
        target=partial(
            client.receive,
            on_event,
            partition_id=partition,
            owner_level=level,
            starting_position="-1",
            max_wait_time=0.2,
        )
    )
    with client:
        reading.start()
        assert opened.wait(60)
        yield
    reading.join()


def test_link_stolen(rig: Rig, record_property: Record) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        with foreign_reader(rig, "1", level=7):
            rig.publish(audit_bodies("meanwhile", 40, partitions=4))
            forwarder.wait_until_unready("source", "partition 1 is not read")
            rig.falco.wait_for(lambda: len(rig.account.lost) == 10)  # the others go on
            assert forwarder.get("/livez").status_code == 200
        took = finish(rig, forwarder)
    report(record_property, "link stolen by a foreign reader", rig, back_after_s=took)
    assert rig.account.duplicates == 0


def test_partitions_added(rig: Rig, record_property: Record) -> None:
    with rig.forwarder(STARTPOSITION="latest") as forwarder:
        rig.wait_for_first_claims()
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.emulator.faults.add_partitions(HUB, 2)
        since = time.monotonic()
        # What is in the new ones before we know of them counts, whatever STARTPOSITION says.
        rig.publish(audit_bodies("new", 60, partitions=6))
        rig.account.wait()
        noticed = round(time.monotonic() - since, 1)
        finish(rig, forwarder)
    report(record_property, "partitions added", rig, read_after_s=noticed)
    assert rig.account.duplicates == 0
