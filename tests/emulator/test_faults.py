from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import proton
import pytest
from azure.eventhub import EventData
from azure.eventhub.exceptions import AuthenticationError

from emulator import ThreadedEmulator
from tests.emulator.helpers import BareClient, producer, until

if TYPE_CHECKING:
    from tests.emulator.helpers import Consumer

PARTITION = "audit/ConsumerGroups/$Default/Partitions/"


def attach(client: BareClient, partition: str, credit: int = 100) -> proton.Receiver:
    link = client.receiver(PARTITION + partition, credit)
    client.pump_until(lambda: link.state & proton.Endpoint.REMOTE_ACTIVE)
    return link


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_cut_connection_is_reset_and_the_client_recovers(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"before"])
    with consumer(emulator.connection_string, partition_id="0") as client:
        client.wait(1)
        assert emulator.faults.cut() == 1
        assert emulator.counters().receivers == ()
        emulator.broker.publish("audit", "0", [b"after"])
        assert client.wait(2) == [b"before", b"after"]


def test_cutting_one_partition_leaves_the_others(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as zero, BareClient(emulator.port) as one:
        attach(zero, "0")
        attach(one, "1")
        assert emulator.faults.cut(hub="audit", partition="0") == 1
        with pytest.raises(ConnectionResetError):
            zero.pump_until(lambda: False)
        emulator.broker.publish("audit", "1", [b"event"])
        one.pump_until(lambda: one.messages)
        assert emulator.counters().connections == 1


def test_refusing_connections_leaves_open_ones(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        attach(client, "0")
        emulator.faults.refuse_connections()
        assert refused(emulator.port)
        emulator.broker.publish("audit", "0", [b"event"])
        client.pump_until(lambda: client.messages)
        emulator.faults.accept_connections()
        with BareClient(emulator.port) as other:
            attach(other, "0")
            other.pump_until(lambda: other.messages)


def test_a_restart_on_the_same_port_keeps_the_data(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"before"])
    with consumer(emulator.connection_string, partition_id="0") as client:
        client.wait(1)
        emulator.faults.stop()
        assert refused(emulator.port)
        assert emulator.counters().connections == 0
        emulator.broker.publish("audit", "0", [b"meanwhile"])
        emulator.faults.start()
        assert client.wait(2) == [b"before", b"meanwhile"]


def test_silence_stops_everything_until_it_ends(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as open_before, socket.socket() as opened_meanwhile:
        attach(open_before, "0")
        emulator.faults.silence()
        emulator.broker.publish("audit", "0", [b"event"])
        # The kernel accepts the connection; nobody answers the protocol header.
        opened_meanwhile.connect(("127.0.0.1", emulator.port))
        opened_meanwhile.sendall(b"AMQP\x03\x01\x00\x00")
        for silent in (open_before.socket, opened_meanwhile):
            silent.settimeout(0.2)
            with pytest.raises(TimeoutError):
                silent.recv(1)
            silent.settimeout(30)
        emulator.faults.recover()
        assert opened_meanwhile.recv(8) == b"AMQP\x03\x01\x00\x00"
        open_before.pump_until(lambda: open_before.messages)


def test_refused_auth_and_then_granted(emulator: ThreadedEmulator) -> None:
    emulator.faults.refuse_auth()
    with (
        producer(emulator.connection_string, retry_total=0) as sender,
        pytest.raises(AuthenticationError, match="CBS Token authentication failed"),
    ):
        sender.send_event(EventData(b"x"))
    emulator.faults.grant_auth()
    with producer(emulator.connection_string, retry_total=0) as sender:
        sender.send_event(EventData(b"x"))


def test_a_client_gets_over_refused_auth(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"before"])
    with consumer(emulator.connection_string, partition_id="0") as client:
        client.wait(1)
        emulator.faults.refuse_auth(403, "no")
        emulator.faults.cut()
        emulator.broker.publish("audit", "0", [b"after"])
        until(lambda: emulator.counters().refused_tokens)
        emulator.faults.grant_auth()
        assert client.wait(2) == [b"before", b"after"]


def test_a_detached_link_is_attached_again(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"before"])
    with consumer(emulator.connection_string, partition_id="0") as client:
        client.wait(1)
        assert emulator.faults.detach("audit", "0", condition="com.microsoft:server-busy") == 1
        emulator.broker.publish("audit", "0", [b"after"])
        assert client.wait(2) == [b"before", b"after"]


def test_a_detach_carries_its_condition(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        link = attach(client, "0")
        other = attach(client, "1")
        assert emulator.faults.detach(partition="0", condition="a:b", description="why") == 1
        client.pump_until(lambda: link.state & proton.Endpoint.REMOTE_CLOSED)
        assert link.remote_condition == proton.Condition("a:b", "why")
        assert other.state & proton.Endpoint.REMOTE_ACTIVE


def test_delayed_deliveries_come_late_and_complete(emulator: ThreadedEmulator) -> None:
    emulator.faults.delay_deliveries(3600)
    emulator.broker.publish("audit", "0", [b"late"])
    with BareClient(emulator.port) as client:
        attach(client, "0")
        attach(client, "1")  # a whole round trip later
        assert client.messages == []
        emulator.faults.delay_deliveries(0)
        client.pump_until(lambda: client.messages)
        emulator.faults.delay_deliveries(0.01)
        emulator.broker.publish("audit", "0", [b"%d" % number for number in range(50)])
        client.pump_until(lambda: len(client.messages) == 51)


def test_what_is_no_amqp_harms_nobody(emulator: ThreadedEmulator) -> None:
    rubbish = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x01\x00\x00\x00\x00\x00\x04",
        b"AMQP\x00\x01\x00\x00\xff\xff\xff\xff\x02\x00\x00\x00",
        b"AMQP\x00\x01\x00\x00\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x10\x99",
        b"AMQP\x00\x01\x00\x00\x00\x00\x00\x0c\x02\x00\x00\x00" + bytes(4),
    ]
    for data in rubbish:
        with socket.create_connection(("127.0.0.1", emulator.port), 30) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    until(lambda: emulator.counters().connections == 0)
    with BareClient(emulator.port) as proper:
        attach(proper, "0")


def test_faults_from_many_threads_at_once(emulator: ThreadedEmulator) -> None:
    def disturb() -> None:
        for number in range(50):
            emulator.broker.publish("audit", None, [b"%d" % number])
            emulator.faults.cut()
            emulator.faults.silence()
            emulator.faults.recover()
            emulator.counters()

    threads = [threading.Thread(target=disturb) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with BareClient(emulator.port) as client:
        attach(client, "0", 1000)
        client.pump_until(lambda: len(client.messages) == 100)
