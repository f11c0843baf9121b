from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING

import proton
import pytest
from azure.eventhub import EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from emulator import Broker, ThreadedEmulator
from tests.emulator.helpers import AsyncConsumer, BareClient, SyncConsumer, until

if TYPE_CHECKING:
    from tests.emulator.helpers import Consumer

PARTITION = "audit/ConsumerGroups/$Default/Partitions/0"


def test_events_arrive_complete_and_in_order(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    sent = {
        partition: [f"{partition}/{number}".encode() + bytes(number * 97) for number in range(500)]
        for partition in ("0", "1")
    }
    for partition, bodies in sent.items():
        emulator.broker.publish("audit", partition, bodies)
    with consumer(emulator.connection_string) as client:
        client.wait(1000)
    assert {partition: client.bodies(partition) for partition in sent} == sent
    numbers = [event.sequence_number for where, event in client.events if where == "0"]
    assert numbers == list(range(500))


def test_events_published_while_receiving_arrive(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    with consumer(emulator.connection_string, partition_id="1") as client:
        until(lambda: emulator.counters().receivers)
        for number in range(5):
            emulator.broker.publish("audit", "1", [b"%d" % number])
            client.wait(number + 1)


def test_large_events_span_frames(emulator: ThreadedEmulator, consumer: type[Consumer]) -> None:
    bodies = [bytes([number]) * (1_000_000 + number) for number in range(3)]
    emulator.broker.publish("audit", "0", bodies)
    with consumer(emulator.connection_string) as client:
        assert client.wait(3) == bodies


def test_an_event_tells_its_place(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "1", [b"a", b"b"], partition_key="key")
    with SyncConsumer(emulator.connection_string) as client:
        client.wait(2)
    first, second = (event for _, event in client.events)
    kept = emulator.broker.hub("audit").partition("1")
    stored = emulator.broker.read(kept, 0, 2, 1000)
    assert [first.offset, second.offset] == [str(event.offset) for event in stored]
    assert second.sequence_number == 1
    assert second.partition_key == b"key"
    assert second.enqueued_time is not None
    assert int(second.enqueued_time.timestamp() * 1000) == stored[1].enqueued_ms


def test_starting_positions(emulator: ThreadedEmulator, consumer: type[Consumer]) -> None:
    kept = emulator.broker.hub("audit").partition("0")
    for number in range(10):
        publish_at_a_new_time(emulator, b"%d" % number)
    middle = emulator.broker.read(kept, 5, 1, 1)[0]
    time = datetime.fromtimestamp(middle.enqueued_ms / 1000, UTC)
    starts: list[tuple[int | str | datetime, bool, int]] = [
        (5, False, 6),
        (str(middle.offset), True, 5),
        (time, False, 6),
        (time - timedelta(hours=1), True, 0),
    ]

    def received(index: int) -> list[bytes]:
        position, inclusive, first = starts[index]
        with consumer(
            emulator.connection_string,
            group=f"group-{index}",
            partition_id="0",
            starting_position=position,
            starting_position_inclusive=inclusive,
        ) as client:
            return client.wait(10 - first)

    with ThreadPoolExecutor(len(starts)) as threads:
        results = list(threads.map(received, range(len(starts))))
    for (_, _, first), result in zip(starts, results, strict=True):
        assert result == [b"%d" % number for number in range(first, 10)]


def publish_at_a_new_time(emulator: ThreadedEmulator, body: bytes) -> None:
    last = emulator.broker.hub("audit").partition("0").last_event
    until(lambda: last is None or time_ns() // 1_000_000 > last.enqueued_ms)
    emulator.broker.publish("audit", "0", [body])


def test_latest_skips_what_is_there(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"old"])
    with AsyncConsumer(emulator.connection_string, starting_position="@latest") as client:
        until(lambda: len(emulator.counters().receivers) == 2)
        emulator.broker.publish("audit", "0", [b"new"])
        assert client.wait(1) == [b"new"]


def test_a_position_beyond_the_end_is_refused(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"0"])
    with SyncConsumer(
        emulator.connection_string, starting_position=488, partition_id="0", retry_total=0
    ) as client:
        client.wait_for_error("supplied sequence number '488' is invalid")


def test_reading_what_was_dropped_starts_at_the_oldest_event() -> None:
    broker = Broker({"audit": 1}, retention_bytes=20_000)
    broker.publish("audit", "0", [b"%03d" % number + bytes(1000) for number in range(100)])
    partition = broker.hub("audit").partition("0")
    assert 0 < len(partition) < 20
    assert partition.size_bytes <= 20_000
    with (
        ThreadedEmulator(broker) as running,
        SyncConsumer(running.connection_string, starting_position=0) as client,
    ):
        client.wait(len(partition))
    assert client.events[0][1].sequence_number == partition.first_sequence_number
    assert client.events[-1][1].sequence_number == 99


def test_consumer_groups_read_independently(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"event"])
    with (
        AsyncConsumer(emulator.connection_string, group="one") as one,
        AsyncConsumer(emulator.connection_string, group="two") as two,
    ):
        assert one.wait(1) == two.wait(1) == [b"event"]


def test_hubs_are_apart(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"audit"])
    emulator.broker.publish("other", "0", [b"other"])
    with (
        AsyncConsumer(emulator.connection_string, "audit") as one,
        AsyncConsumer(emulator.connection_string, "other") as two,
    ):
        assert one.wait(1) == [b"audit"]
        assert two.wait(1) == [b"other"]


def test_the_last_enqueued_event_is_told(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"a", b"b", b"c"], partition_key="key")
    with consumer(
        emulator.connection_string,
        track_last_enqueued_event_properties=True,
        prefetch=1,
        max_batch_size=1,
    ) as client:
        client.wait(1)
        until(lambda: client.last_enqueued)
    last = emulator.broker.hub("audit").partition("0").last_event
    assert last is not None
    assert client.last_enqueued is not None
    assert client.last_enqueued["sequence_number"] == 2
    assert client.last_enqueued["offset"] == str(last.offset)
    assert int(client.last_enqueued["enqueued_time"].timestamp() * 1000) == last.enqueued_ms
    assert client.last_enqueued["retrieval_time"] >= client.last_enqueued["enqueued_time"]


def test_a_receiver_gets_no_more_than_its_credit(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"%d" % number for number in range(10)])
    with BareClient(emulator.port) as client:
        link = client.receiver(PARTITION, 3)
        client.pump_until(lambda: len(client.messages) == 3)
        # An answer on the same connection comes after whatever was sent before it.
        other = client.receiver(PARTITION, 0)
        client.pump_until(lambda: other.state & proton.Endpoint.REMOTE_ACTIVE)
        assert len(client.messages) == 3
        link.flow(2)
        client.pump_until(lambda: len(client.messages) == 5)


def test_credit_is_given_back_on_request(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"0", b"1"])
    with BareClient(emulator.port) as client:
        link = client.receiver(PARTITION, 0)
        link.drain(10)
        client.pump_until(lambda: link.credit == 0)
        assert len(client.messages) == 2


def test_frames_stay_within_the_peers_limit(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [bytes(10_000)] * 5)
    with BareClient(emulator.port, max_frame_size=600) as client:
        client.receiver(PARTITION, 5)
        client.pump_until(lambda: len(client.messages) == 5)
        stream = bytes(client.received)
    sizes = []
    while stream:
        size = 8 if stream.startswith(b"AMQP") else int.from_bytes(stream[:4])
        sizes.append(size)
        stream = stream[size:]
    assert max(sizes) <= 600
    assert sizes.count(max(sizes)) > 50


def test_a_missing_hub_is_refused(emulator: ThreadedEmulator) -> None:
    with AsyncConsumer(emulator.connection_string, "missing", retry_total=0) as client:
        client.wait_for_error("could not be found")


def test_an_unlisted_consumer_group_is_refused() -> None:
    broker = Broker({"audit": 1}, groups=["falco"])
    broker.publish("audit", "0", [b"event"])
    with (
        ThreadedEmulator(broker) as running,
        SyncConsumer(running.connection_string, group="FALCO") as listed,
        SyncConsumer(
            running.connection_string, group="other", partition_id="0", retry_total=0
        ) as unlisted,
    ):
        listed.wait(1)
        unlisted.wait_for_error("ConsumerGroups/other' could not be found")


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("audit/ConsumerGroups/$Default/Partitions/2", "com.microsoft:argument-out-of-range"),
        ("missing/ConsumerGroups/$Default/Partitions/0", "amqp:not-found"),
        ("audit/nonsense", "amqp:not-found"),
    ],
)
def test_an_address_without_anything_there_is_refused(
    emulator: ThreadedEmulator, address: str, condition: str
) -> None:
    with BareClient(emulator.port) as client:
        link = client.receiver(address, 1)
        client.pump_until(lambda: link.state & proton.Endpoint.REMOTE_CLOSED)
        assert link.remote_source.address is None
        assert link.remote_condition is not None
        assert link.remote_condition.name == condition


def test_the_properties_of_a_hub_and_its_partitions(emulator: ThreadedEmulator) -> None:
    emulator.broker.publish("audit", "0", [b"a", b"b"])
    with EventHubConsumerClient.from_connection_string(
        emulator.connection_string, "$Default", eventhub_name="audit", retry_total=0
    ) as client:
        hub = client.get_eventhub_properties()
        used = client.get_partition_properties("0")
        empty = client.get_partition_properties("1")
        with pytest.raises(EventHubError, match="specified partition is invalid"):
            client.get_partition_properties("9")
    created = emulator.broker.hub("audit").created_ms
    assert (hub["eventhub_name"], hub["partition_ids"]) == ("audit", ["0", "1"])
    assert int(hub["created_at"].timestamp() * 1000) == created
    last = emulator.broker.hub("audit").partition("0").last_event
    assert last is not None
    assert used["last_enqueued_offset"] == str(last.offset)
    assert (used["id"], used["is_empty"]) == ("0", False)
    assert (used["beginning_sequence_number"], used["last_enqueued_sequence_number"]) == (0, 1)
    assert int(used["last_enqueued_time_utc"].timestamp() * 1000) == last.enqueued_ms
    assert (empty["is_empty"], empty["last_enqueued_sequence_number"]) == (True, -1)
    assert empty["last_enqueued_offset"] == "-1"
    assert empty["last_enqueued_time_utc"].year == 1


def test_the_partition_ids_are_an_array(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        replies = client.receiver("$management", 1)
        requests = client.sender("$management")
        client.pump_until(lambda: requests.credit and replies.state & proton.Endpoint.REMOTE_ACTIVE)
        request = {"operation": "READ", "type": "com.microsoft:eventhub", "name": "audit"}
        requests.send(proton.Message(properties=request, id=1))
        client.pump_until(lambda: client.messages)
    reply = proton.Message()
    reply.decode(client.messages[0][1])
    assert isinstance(reply.body, dict)
    ids = reply.body["partition_ids"]
    assert isinstance(ids, proton.Array)
    assert (ids.type, list(ids)) == (proton.Data.STRING, ["0", "1"])


def test_added_partitions_are_seen(emulator: ThreadedEmulator) -> None:
    emulator.faults.add_partitions("other", 2)
    emulator.broker.publish("other", "2", [b"new"])
    with AsyncConsumer(emulator.connection_string, "other") as client:
        assert client.wait(1) == [b"new"]
    assert client.events[0][0] == "2"
