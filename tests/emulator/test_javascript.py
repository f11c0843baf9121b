"""The emulator as Azure's JavaScript SDK sees it: a client of other people's making."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emulator import Broker, ThreadedEmulator
from tests.emulator.javascript_client import JavaScriptClient, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _sdk() -> None:
    why = missing()
    if why is not None and os.environ.get("REQUIRE_JAVASCRIPT"):
        pytest.fail(f"REQUIRE_JAVASCRIPT is set, but {why}")
    if why is not None:
        pytest.skip(why)


@pytest.fixture
def javascript(emulator: ThreadedEmulator) -> Iterator[JavaScriptClient]:
    with JavaScriptClient(emulator.connection_string) as client:
        yield client


def test_it_receives_from_two_partitions(
    emulator: ThreadedEmulator, javascript: JavaScriptClient
) -> None:
    emulator.broker.publish("audit", "0", [b"a", b"b"])
    javascript.subscribe("all", ["0", "1"])
    javascript.wait("all", 2)
    emulator.broker.publish("audit", "1", [b"c"])
    expected = [("0", 0, "a"), ("0", 1, "b"), ("1", 0, "c")]
    assert sorted(javascript.wait("all", 3)) == expected


def test_it_sends_a_batch(emulator: ThreadedEmulator, javascript: JavaScriptClient) -> None:
    bodies = [f"event {number}" for number in range(100)]
    assert javascript.ask("send", partition="1", bodies=bodies) == 100
    javascript.subscribe("late", ["1"], after=97)
    assert [body for _, _, body in javascript.wait("late", 2)] == bodies[98:]
    assert emulator.broker.hub("audit").partition("1").last_sequence_number == 99


def test_it_reads_the_properties(emulator: ThreadedEmulator, javascript: JavaScriptClient) -> None:
    emulator.broker.publish("audit", "0", [b"a", b"b"])
    last = emulator.broker.hub("audit").partition("0").last_event
    assert last is not None
    hub = javascript.ask("properties")
    assert (hub["name"], hub["partitionIds"]) == ("audit", ["0", "1"])
    partition = javascript.ask("partition", partition="0")
    assert (partition["partitionId"], partition["isEmpty"]) == ("0", False)
    assert (partition["beginningSequenceNumber"], partition["lastEnqueuedSequenceNumber"]) == (0, 1)
    assert partition["lastEnqueuedOffset"] == str(last.offset)


def test_a_higher_epoch_steals_from_it(
    emulator: ThreadedEmulator, javascript: JavaScriptClient
) -> None:
    emulator.broker.publish("audit", "0", [b"event"])
    javascript.subscribe("first", ["0"], epoch=1)
    javascript.wait("first", 1)
    javascript.subscribe("second", ["0"], epoch=2)
    javascript.wait("second", 1)
    error = javascript.wait_for_error("first")
    assert error["code"] == "ReceiverDisconnectedError"
    assert "New receiver 'nil' with higher epoch of '2' is created" in error["message"]
    assert [each.epoch for each in emulator.counters().receivers] == [2]


def test_it_finds_a_hub_that_was_recreated(
    emulator: ThreadedEmulator, javascript: JavaScriptClient
) -> None:
    before = javascript.ask("properties")
    javascript.ask("send", partition="0", bodies=["old", "older"])
    javascript.subscribe("old", ["0"])
    javascript.wait("old", 2)
    emulator.faults.recreate("audit", 3)
    assert javascript.wait_for_error("old")["code"] == "MessagingEntityNotFoundError"
    after = javascript.ask("properties")
    assert after["partitionIds"] == ["0", "1", "2"]
    assert after["createdOn"] > before["createdOn"]
    assert javascript.ask("send", partition="0", bodies=["new"]) == 1
    javascript.subscribe("new", ["0"])
    assert javascript.wait("new", 1) == [("0", 0, "new")]


def test_its_groups_and_keys_are_checked() -> None:
    broker = Broker({"audit": 1}, groups=["known"])
    with ThreadedEmulator(broker, keys={"name": "c2VjcmV0"}) as emulator:
        with JavaScriptClient(emulator.connection_string) as client:
            assert client.ask("send", partition="0", bodies=["event"]) == 1
            client.subscribe("known", ["0"], group="known")
            assert client.wait("known", 1) == [("0", 0, "event")]
            client.subscribe("unknown", ["0"], group="unknown")
            assert client.wait_for_error("unknown")["code"] == "MessagingEntityNotFoundError"
        wrong = emulator.connection_string.replace("c2VjcmV0", "wrong")
        with JavaScriptClient(wrong) as client:
            failed = client.ask("send", partition="0", bodies=["event"])
            assert failed["error"]["code"] == "UnauthorizedError"
            assert "InvalidSignature" in failed["error"]["message"]
