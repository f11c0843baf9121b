from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
import trio
from azure.eventhub import EventData
from azure.eventhub.exceptions import AuthenticationError

from emulator import Broker, Emulator, Faults, RefusedError, ThreadedEmulator, serve
from tests.emulator.helpers import (
    DEADLINE,
    AsyncConsumer,
    BareClient,
    SyncConsumer,
    producer,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = "-m emulator --hub audit:3 --hub other --port 0 --retention-mb 1 --max-message-kb 64"
    with subprocess.Popen(
        [sys.executable, *command.split(), "--port-file", str(tmp_path / "port")],
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(
    process: subprocess.Popen[str], tmp_path: Path, stop: signal.Signals
) -> None:
    assert process.stdout is not None
    connection = process.stdout.readline().strip()
    port = int((tmp_path / "port").read_text())
    assert connection.startswith(f"Endpoint=sb://localhost:{port};SharedAccessKeyName=")
    with producer(connection) as sender:
        assert sender.get_partition_ids() == ["0", "1", "2"]
        assert sender.create_batch().max_size_in_bytes == 64 * 1024
        sender.send_event(EventData(b"event"), partition_id="2")
    with AsyncConsumer(connection, partition_id="2") as client:
        assert client.wait(1) == [b"event"]
        process.send_signal(stop)
        assert process.wait(DEADLINE) == 0
    assert process.stdout.read() == ""


@pytest.mark.parametrize("hub", ["audit:x", "audit:0", ":3", ""])
def test_a_malformed_hub_is_refused(hub: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "emulator", "--hub", hub],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "is not a name and a number of partitions" in result.stderr


def test_the_command_checks_the_groups_and_keys_it_was_given() -> None:
    command = "-m emulator --hub audit --port 0 --group one --group two --key name=c2VjcmV0=="
    with subprocess.Popen(
        [sys.executable, *command.split()], stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        connection = started.stdout.readline().strip()
        assert "SharedAccessKeyName=name;SharedAccessKey=c2VjcmV0==;" in connection
        with producer(connection) as sender:
            sender.send_event(EventData(b"event"))
        for group in ("$Default", "two"):
            with AsyncConsumer(connection, group=group) as client:
                assert client.wait(1) == [b"event"]
        with SyncConsumer(connection, group="three", partition_id="0", retry_total=0) as client:
            client.wait_for_error("'audit/ConsumerGroups/three' could not be found")
        wrong = connection.replace("c2VjcmV0", "wrong")
        with producer(wrong, retry_total=0) as sender, pytest.raises(AuthenticationError):
            sender.send_event(EventData(b"x"))
        started.terminate()


@pytest.mark.parametrize("key", ["name", "=key", "name=", "a;b=c"])
def test_a_malformed_key_is_refused(key: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "emulator", "--hub", "audit", "--key", key],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "it is not a key's name and a key" in result.stderr


def test_serving_in_a_nursery() -> None:
    async def main() -> None:
        broker = Broker({"audit": 1})
        async with trio.open_nursery() as nursery:
            emulator: Emulator = await nursery.start(serve, broker, "127.0.0.1", 0)
            broker.publish("audit", "0", [b"event"])
            await trio.to_thread.run_sync(read_one, emulator.port)
            Faults(emulator).cut()
            assert emulator.counters().connections == 0
            nursery.cancel_scope.cancel()

    trio.run(main)


def read_one(port: int) -> None:
    with BareClient(port) as client:
        client.receiver("audit/ConsumerGroups/$Default/Partitions/0", 1)
        client.pump_until(lambda: client.messages)


def test_an_emulator_gives_back_its_port_and_its_sockets() -> None:
    with ThreadedEmulator({"audit": 1}) as running:
        port = running.port
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        until(lambda: running.counters().connections == 3)
        running.faults.stop()
        running.faults.start()
        clients.append(socket.create_connection(("127.0.0.1", port)))
    for client in clients:
        client.close()
    ports = [each.laddr.port for each in psutil.Process().net_connections("tcp")]
    assert port not in ports
    with ThreadedEmulator({"audit": 1}, port=port) as again:
        assert again.port == port


def test_a_port_in_use_is_an_error() -> None:
    with ThreadedEmulator({"audit": 1}) as running:
        with pytest.raises(OSError, match="in use"), ThreadedEmulator({"a": 1}, port=running.port):
            pass
        assert running.counters().connections == 0
        command = ["-m", "emulator", "--hub", "audit", "--port", str(running.port)]
        result = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: cannot listen on 127.0.0.1:")
    assert "Address already in use" in result.stderr


def test_publishing_to_what_does_not_exist_is_an_error() -> None:
    broker = Broker({"audit": 1})
    with pytest.raises(RefusedError, match="missing"):
        broker.publish("missing", "0", [b""])
    with pytest.raises(RefusedError, match="partition is invalid"):
        broker.publish("audit", "1", [b""])
