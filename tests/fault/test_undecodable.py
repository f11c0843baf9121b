"""AMQP messages that the SDK's decoder does not take: each costs itself, and nothing around it."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp._decode import decode_payload

from aks_audit.hub.sdk.conversion import body_of
from aks_audit.hub.sections import decode, value_size
from emulator import amqp, message
from testkit.rig import HUB, Rig
from testkit.streams.bodies import audit_bodies, envelope
from tests.fault.balance import Balance

VALUE, SEQUENCE, DATA = b"\x00\x53\x77", b"\x00\x53\x76", b"\x00\x53\x75"
ANNOTATIONS, PROPERTIES = b"\x00\x53\x72", b"\x00\x53\x74"


def listed(*values: bytes) -> bytes:
    inner = b"".join(values)
    return b"\xd0" + struct.pack(">II", 4 + len(inner), len(values)) + inner


def mapped(*values: bytes) -> bytes:
    return b"\xd1" + listed(*values)[1:]


def nested(levels: int) -> bytes:
    value = amqp.string("inside")
    for _ in range(levels):
        value = listed(value)
    return value


DEEP = nested(3000)
BODY = envelope(["inside-deep-properties"])
UNDECODABLE = {
    "a value 3,000 deep": VALUE + DEEP,
    "a map 3,000 deep": VALUE + mapped(amqp.string("key"), DEEP),
    "a sequence 3,000 deep": SEQUENCE + listed(DEEP),
    "a list as a key": VALUE + mapped(listed(), amqp.string("value")),
    "a key that JSON has not": VALUE + mapped(amqp.NULL, amqp.string("value")),
}


@pytest.mark.parametrize("encoded", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_a_body_that_cannot_be_decoded_becomes_a_dead_letter(
    rig: Rig, balance: Balance, encoded: bytes
) -> None:
    rig.publish(audit_bodies("before", 3))
    rig.emulator.broker.store(HUB, "0", [message.parse(encoded)])
    rig.publish(audit_bodies("behind", 3))
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.ready()
        assert not forwarder.log("rebuilding the client")
        assert forwarder.stop() == 0
    (letter,) = balance.letters()
    assert (letter.partition, letter.sequence_number, letter.kind) == ("0", 3, "raw")
    assert letter.body == encoded[3:], "the value, as AMQP encodes it"
    assert balance.check() == 0


@pytest.mark.parametrize("section", [ANNOTATIONS, PROPERTIES], ids=["annotations", "properties"])
def test_a_deep_property_costs_neither_the_position_nor_the_body(
    rig: Rig, balance: Balance, section: bytes
) -> None:
    deep = section + mapped(amqp.symbol("x-opt-deep"), DEEP)
    data = DATA + amqp.binary_prefix(len(BODY)) + BODY
    rig.publish(audit_bodies("before", 3))
    rig.emulator.broker.store(HUB, "0", [message.parse(deep + data)])
    rig.account.published["inside-deep-properties", "ResponseComplete"] += 1
    rig.publish(audit_bodies("behind", 3))
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.stop() == 0
    assert not balance.letters()
    assert balance.check() == 0


def test_a_shallow_value_is_its_json() -> None:
    encoded = VALUE + listed(amqp.NULL, listed(b"\x56\x01", b"\x41"))
    event = EventData._from_message(decode(memoryview(encoded), decode_payload))
    assert body_of(event) == b"[null,[true,true]]"


def test_a_value_as_deep_as_is_decoded_is_its_json() -> None:
    event = EventData._from_message(decode(memoryview(VALUE + nested(198)), decode_payload))
    assert body_of(event) == b"[" * 198 + b'"aW5zaWRl"' + b"]" * 198


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_a_message_without_sections_raises_what_the_decoder_does(cut: int) -> None:
    encoded = memoryview((VALUE + DEEP)[:-cut])

    def fails(_: memoryview) -> Any:
        raise RecursionError("the decoder's")

    with pytest.raises(RecursionError, match="the decoder's"):
        decode(encoded, fails)


@pytest.mark.parametrize(
    "value",
    [
        amqp.NULL,
        b"\x56\x01",
        b"\x60\x01\x02",
        b"\x70\x01\x02\x03\x04",
        b"\x80" + bytes(8),
        b"\x98" + bytes(16),
        amqp.string("text"),
        amqp.string("x" * 300),
        nested(3),
        b"\xc0\x03\x02\x41\x42",
        b"\xe0\x04\x02\x50\x01\x02",
        b"\x00\x53\x01\x40",
        b"\x00" * 3000 + b"\x40" * 3001,
    ],
)
def test_the_size_of_a_value(value: bytes, record_property: Callable[[str, object], None]) -> None:
    record_property("bytes", len(value))
    assert value_size(memoryview(value + b"behind")) == len(value)
    with pytest.raises((IndexError, struct.error)):
        value_size(memoryview(value[:-1]))
