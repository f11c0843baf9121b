"""Hubs that are made anew under their names, one by one or with their namespace."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import proton
import pytest
from azure.eventhub import EventData

from emulator import Broker, RefusedError, ThreadedEmulator
from tests.emulator.helpers import DEADLINE, BareClient, SyncConsumer, producer, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulator.helpers import Consumer

PARTITION = "audit/ConsumerGroups/$Default/Partitions/"


def state(link: proton.Link, wanted: int) -> Callable[[], object]:
    return lambda: link.state & wanted


def attach(client: BareClient, address: str) -> proton.Receiver:
    link = client.receiver(address, 100)
    client.pump_until(state(link, proton.Endpoint.REMOTE_ACTIVE))
    return link


def described(emulator: ThreadedEmulator, hub: str = "audit") -> dict[str, Any]:
    with producer(emulator.connection_string, hub) as client:
        return client.get_eventhub_properties()


def numbers(broker: Broker, hub: str, partition: str) -> list[tuple[int, int]]:
    kept = broker.read(broker.hub(hub).partition(partition), 0, 1000, 1 << 20)
    return [(event.sequence_number, event.offset) for event in kept]


def test_a_recreated_hub_is_empty_and_newer(emulator: ThreadedEmulator) -> None:
    before = described(emulator)
    emulator.broker.publish("audit", "0", [b"old"] * 3)
    emulator.faults.recreate("audit", 3)
    after = described(emulator)
    assert after["partition_ids"] == ["0", "1", "2"]
    assert after["created_at"] > before["created_at"]
    assert numbers(emulator.broker, "audit", "0") == []
    assert emulator.broker.publish("audit", "0", [b"new"]) == [0]
    assert numbers(emulator.broker, "audit", "0") == [(0, 0)]


def test_a_hub_may_be_recreated_with_its_creation_time(emulator: ThreadedEmulator) -> None:
    before = described(emulator)
    emulator.broker.publish("audit", "0", [b"old"])
    emulator.faults.recreate("AUDIT", keep_creation_time=True)
    assert described(emulator)["created_at"] == before["created_at"]
    assert emulator.broker.hub("audit").partition_ids == before["partition_ids"]
    assert numbers(emulator.broker, "audit", "0") == []


def test_the_links_to_a_recreated_hub_are_detached(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        reader = attach(client, PARTITION + "0")
        other = attach(client, "other/ConsumerGroups/$Default/Partitions/0")
        writer = client.sender("audit")
        client.pump_until(state(writer, proton.Endpoint.REMOTE_ACTIVE))
        assert emulator.faults.recreate("audit") == 2
        for link in (reader, writer):
            client.pump_until(state(link, proton.Endpoint.REMOTE_CLOSED))
            assert link.remote_condition == proton.Condition(
                "amqp:not-found", "The messaging entity 'audit' could not be found."
            )
            link.close()
        assert other.state & proton.Endpoint.REMOTE_ACTIVE
        assert [each.hub for each in emulator.counters().receivers] == ["other"]
        attach(client, PARTITION + "0")
        emulator.broker.publish("audit", "0", [b"new"])
        client.pump_until(lambda: len(client.messages) == 1)


def test_a_consumer_and_a_producer_go_on_with_the_new_hub(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    with (
        producer(emulator.connection_string) as sender,
        consumer(emulator.connection_string, starting_position="@latest") as client,
    ):
        until(lambda: len(emulator.counters().receivers) == 2)
        sender.send_event(EventData(b"old"), partition_id="0")
        client.wait(1)
        emulator.faults.recreate("audit")
        # The receiver attaches again at the offset it has seen: it needs an event there.
        emulator.broker.publish("audit", "0", [b"0", b"1"])
        assert client.wait(2) == [b"old", b"1"]
        sender.send_event(EventData(b"2"), partition_id="0")
        assert client.wait(3) == [b"old", b"1", b"2"]
        assert [event.sequence_number for _, event in client.events] == [0, 1, 2]


def test_a_namespace_fails_over_without_its_data(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    before = [described(emulator, hub) for hub in ("audit", "other")]
    emulator.broker.publish("audit", "0", [b"old"])
    emulator.broker.publish("other", "0", [b"old"])
    with BareClient(emulator.port) as client:
        attach(client, PARTITION + "0")
        assert emulator.faults.fail_over() == 1
        with pytest.raises(ConnectionResetError):
            client.pump_until(lambda: False)
    after = [described(emulator, hub) for hub in ("audit", "other")]
    for old, new in zip(before, after, strict=True):
        assert new["created_at"] > old["created_at"]
        assert new["partition_ids"] == old["partition_ids"]
    emulator.faults.fail_over(keep_creation_time=True)
    assert [described(emulator, hub) for hub in ("audit", "other")] == after
    emulator.broker.publish("audit", "0", [b"new"])
    with consumer(emulator.connection_string) as reading:
        assert reading.wait(1) == [b"new"]


def test_a_hub_that_is_not_there_cannot_be_recreated(emulator: ThreadedEmulator) -> None:
    with pytest.raises(RefusedError, match="missing"):
        emulator.faults.recreate("missing")


def test_hubs_are_recreated_while_events_come(emulator: ThreadedEmulator) -> None:
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            emulator.broker.publish("audit", "0", [b"x"])

    def replace(what: Callable[[], int]) -> None:
        for _ in range(30):
            what()

    publisher = threading.Thread(target=publish)
    replacing = [
        threading.Thread(target=replace, args=(what,))
        for what in (lambda: emulator.faults.recreate("audit"), emulator.faults.fail_over)
    ]
    for thread in (publisher, *replacing):
        thread.start()
    for thread in replacing:
        thread.join(DEADLINE)
    done.set()
    publisher.join(DEADLINE)
    kept = [number for number, _ in numbers(emulator.broker, "audit", "0")]
    assert kept == list(range(len(kept)))
    emulator.faults.recreate("audit")
    emulator.broker.publish("audit", "0", [b"last"])
    with BareClient(emulator.port) as client:
        attach(client, PARTITION + "0")
        client.pump_until(lambda: client.messages)


def test_offsets_may_be_texts(consumer: type[Consumer]) -> None:
    with ThreadedEmulator(Broker({"audit": 1}, offset_prefix="1:2:")) as emulator:
        emulator.broker.publish("audit", "0", [b"0", b"1", b"2"])
        connection = emulator.connection_string
        with consumer(connection, track_last_enqueued_event_properties=True) as client:
            assert client.wait(3) == [b"0", b"1", b"2"]
        offsets = [event.offset for _, event in client.events]
        assert offsets[0] == "1:2:0"
        assert client.last_enqueued is not None
        assert client.last_enqueued["offset"] == offsets[2]
        with producer(connection) as sender:
            assert sender.get_partition_properties("0")["last_enqueued_offset"] == offsets[2]
        with consumer(connection, starting_position=offsets[0]) as client:
            assert client.wait(2) == [b"1", b"2"]


def test_an_offset_without_the_prefix_is_refused() -> None:
    with (
        ThreadedEmulator(Broker({"audit": 1}, offset_prefix="1:2:")) as emulator,
        SyncConsumer(
            emulator.connection_string, starting_position="0", partition_id="0", retry_total=0
        ) as client,
    ):
        client.wait_for_error("The supplied offset '0' is invalid")
