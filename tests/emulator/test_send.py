from __future__ import annotations

import asyncio
from functools import partial

import proton
import pytest
from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient as AsyncProducerClient
from azure.eventhub.exceptions import EventHubError

from emulator import ThreadedEmulator
from tests.emulator.helpers import BareClient, SyncConsumer, body_of, producer, until


def last_numbers(emulator: ThreadedEmulator) -> list[int]:
    return [each.last_sequence_number for each in emulator.broker.hub("audit").partitions]


def test_a_batch_to_a_partition(emulator: ThreadedEmulator) -> None:
    bodies = [b"%d" % number for number in range(100)]
    with producer(emulator.connection_string) as sender:
        batch = sender.create_batch(partition_id="1")
        assert batch.max_size_in_bytes == 1024 * 1024
        for body in bodies:
            batch.add(EventData(body))
        sender.send_batch(batch)
    assert last_numbers(emulator) == [-1, 99]
    with SyncConsumer(emulator.connection_string, partition_id="1") as client:
        assert client.wait(100) == bodies


def test_a_single_event(emulator: ThreadedEmulator) -> None:
    with producer(emulator.connection_string) as sender:
        sender.send_event(EventData(b"single"), partition_id="0")
    with SyncConsumer(emulator.connection_string, partition_id="0") as client:
        assert client.wait(1) == [b"single"]


def test_sending_with_asyncio(emulator: ThreadedEmulator) -> None:
    async def send() -> None:
        async with AsyncProducerClient.from_connection_string(
            emulator.connection_string, eventhub_name="audit"
        ) as sender:
            await sender.send_batch([EventData(b"a"), EventData(b"b")], partition_id="0")

    asyncio.run(send())
    with SyncConsumer(emulator.connection_string, partition_id="0") as client:
        assert client.wait(2) == [b"a", b"b"]


def test_round_robin_without_partition_or_key(emulator: ThreadedEmulator) -> None:
    with producer(emulator.connection_string) as sender:
        sender.send_batch([EventData(b"%d" % number) for number in range(10)])
    assert last_numbers(emulator) == [4, 4]


def test_a_key_always_leads_to_the_same_partition(emulator: ThreadedEmulator) -> None:
    with producer(emulator.connection_string) as sender:
        for _ in range(3):
            sender.send_batch([EventData(b"x")] * 2, partition_key="some key")
            sender.send_event(EventData(b"x"), partition_key="some key")
    assert sorted(last_numbers(emulator)) == [-1, 8]
    with SyncConsumer(emulator.connection_string) as client:
        client.wait(9)
    assert {event.partition_key for _, event in client.events} == {b"some key"}


def test_properties_survive(emulator: ThreadedEmulator) -> None:
    event = EventData(b"body")
    event.properties = {"text": "value", "number": 7, "flag": True, "raw": b"\x00\xff"}
    event.message_id = "id-1"
    event.correlation_id = "correlation"
    event.content_type = "application/json"
    event.raw_amqp_message.annotations = {b"x-own": "annotation", b"x-opt-offset": "forged"}
    with producer(emulator.connection_string) as sender:
        sender.send_batch([event, event], partition_id="0")
        sender.send_event(event, partition_id="0")
    with SyncConsumer(emulator.connection_string, partition_id="0") as client:
        client.wait(3)
    for _, received in client.events:
        assert body_of(received) == b"body"
        assert received.properties == {
            b"text": b"value",
            b"number": 7,
            b"flag": True,
            b"raw": b"\x00\xff",
        }
        assert received.message_id == "id-1"
        assert received.correlation_id == "correlation"
        assert received.content_type == "application/json"
        assert received.raw_amqp_message.annotations is not None
        assert received.raw_amqp_message.annotations[b"x-own"] == b"annotation"
        assert received.offset != "forged"


def test_a_message_above_the_limit_is_refused() -> None:
    with ThreadedEmulator({"audit": 1}, max_message_bytes=100_000) as running:
        with producer(running.connection_string, retry_total=0) as sender:
            assert sender.create_batch().max_size_in_bytes == 100_000
            with pytest.raises(EventHubError, match="exceeds the limit"):
                sender.send_event(EventData(bytes(100_001)))
            sender.send_event(EventData(bytes(90_000)))
        assert running.counters().partitions[0].events == 1


@pytest.mark.parametrize(
    ("hub", "partition", "text"),
    [
        ("missing", None, "could not be found"),
        ("audit", "2", "Invalid partition 2"),
    ],
)
def test_what_does_not_exist_is_refused(
    emulator: ThreadedEmulator, hub: str, partition: str | None, text: str
) -> None:
    with (
        producer(emulator.connection_string, hub, retry_total=0) as sender,
        pytest.raises(EventHubError, match=text),
    ):
        sender.send_event(EventData(b"x"), partition_id=partition)


def test_what_is_no_message_is_rejected(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        link = client.sender("audit/Partitions/0")
        client.pump_until(lambda: link.credit)
        delivery = link.delivery("tag")
        link.stream(b"\x00\x53\x75\xb0\x00\x00\xff\xff too short")
        link.advance()
        client.pump_until(lambda: delivery.settled)
        assert delivery.remote_state == proton.Delivery.REJECTED
        assert delivery.remote.condition is not None
        assert delivery.remote.condition.name == "amqp:decode-error"
    until(lambda: emulator.counters().connections == 0)
    assert last_numbers(emulator) == [-1, -1]


def all_settled(deliveries: list[proton.Delivery]) -> bool:
    return all(delivery.settled for delivery in deliveries)


def test_many_messages_over_one_link(emulator: ThreadedEmulator) -> None:
    count = 2000
    with BareClient(emulator.port) as client:
        link = client.sender("audit")
        sent = settled = 0
        while settled < count:
            client.pump_until(lambda: link.credit)
            deliveries = []
            while link.credit and sent < count:
                deliveries.append(link.delivery(str(sent)))
                link.stream(proton.Message(body=b"%d" % sent).encode())
                link.advance()
                sent += 1
            client.pump_until(partial(all_settled, deliveries))
            settled += len(deliveries)
            for delivery in deliveries:
                assert delivery.remote_state == proton.Delivery.ACCEPTED
                delivery.settle()
    assert last_numbers(emulator) == [999, 999]
