"""Properties of what takes bytes apart and puts them together."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import proton
from azure.eventhub._pyamqp._decode import decode_frame, decode_payload
from hypothesis import given
from hypothesis import strategies as st

from emulator import amqp, frames, message
from tests.emulator.helpers import attempt, unhurried

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=80),
    st.binary(max_size=300),
    st.uuids(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def encoded(value: Any) -> bytes:
    data = proton.Data()
    data.put_object(value)
    return bytes(data.encode())


@unhurried
@given(st.lists(values, max_size=5), st.binary(max_size=10))
def test_values_are_cut_where_they_end(items: list[Any], prefix: bytes) -> None:
    pieces = [encoded(item) for item in items]
    joined = prefix + b"".join(pieces)
    assert list(amqp.values(joined, len(prefix), len(joined))) == pieces


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    end, condition = attempt(amqp.skip, data, 0)
    assert condition in (None, "amqp:decode-error")
    assert end is None or 0 < end <= len(data)


@unhurried
@given(st.binary(max_size=200) | values.map(encoded).map(b"\x00\x53\x72".__add__))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for take_apart in (message.parse, message.split_batch):
        _, condition = attempt(take_apart, data)
        assert condition in (None, "amqp:decode-error")


# A performative without its trailing nulls, as proton writes it.
performatives = st.sampled_from(
    [code for code in frames.FIELD_COUNTS if frames.OPEN <= code <= frames.CLOSE]
).flatmap(
    lambda code: st.tuples(
        st.just(code), st.lists(scalars, max_size=frames.FIELD_COUNTS[code]), st.binary(max_size=99)
    )
)


def frame(code: int, fields: list[Any], payload: bytes) -> bytes:
    body = amqp.described_list(code, [encoded(field) for field in fields])
    if code == frames.TRANSFER:
        body += payload
    return struct.pack(">IBBH", len(body) + 8, 2, 0, 5) + body


def small(frame: tuple[int, list[Any], bytes]) -> bool:
    """Tell whether it is a frame that can be: the fields of a transfer are short."""
    code, fields, _ = frame
    return code != frames.TRANSFER or sum(len(encoded(field)) for field in fields) < 100


def plain(value: Any) -> Any:
    """Return a value as the SDK's decoder gives it: text as bytes."""
    return value.encode() if isinstance(value, str) else value


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


@unhurried
@given(
    st.lists(performatives.filter(small), max_size=5), st.lists(st.integers(0, 5000), max_size=10)
)
def test_padded_frames_are_complete_for_the_sdk(
    given_frames: list[tuple[int, list[Any], bytes]], places: list[int]
) -> None:
    stream = b"AMQP\x00\x01\x00\x00" + b"".join(frame(*each) for each in given_frames)
    stream += b"\x00\x00\x00\x08\x02\x00\x00\x00"  # a heartbeat
    padder = frames.FramePadder()
    output = b"".join(piece for data in cut(stream, places) for piece in padder.feed(data))
    assert output.startswith(b"AMQP\x00\x01\x00\x00")
    assert output.endswith(b"\x00\x00\x00\x08\x02\x00\x00\x00")
    start = 8
    for code, fields, payload in given_frames:
        size = int.from_bytes(output[start : start + 4])
        got_code, got = decode_frame(memoryview(output[start + 8 : start + size]))
        count = frames.FIELD_COUNTS[code]
        expected = [plain(field) for field in fields] + [None] * (count - len(fields))
        assert got_code == code
        assert got[:count] == expected
        assert [bytes(each) for each in got[count:]] == ([payload] if code == 0x14 else [])
        start += size
    assert start == len(output) - 8


@unhurried
@given(
    st.lists(performatives.filter(small), max_size=5), st.lists(st.integers(0, 5000), max_size=10)
)
def test_incoming_frames_are_found_in_any_pieces(
    given_frames: list[tuple[int, list[Any], bytes]], places: list[int]
) -> None:
    raw = [frame(*each) for each in given_frames if each[0] != frames.OPEN]
    splitter = frames.FrameSplitter()
    found = [each for data in cut(b"".join(raw), places) for each in splitter.feed(data)]
    assert [each.raw for each in found] == raw
    assert [each.code for each in found] == [c for c, _, _ in given_frames if c != frames.OPEN]


@unhurried
@given(st.integers(512, 2**32 - 1) | st.none(), st.booleans())
def test_the_peers_frame_size_is_lowered(size: int | None, more: bool) -> None:  # noqa: FBT001
    fields = [amqp.string("container"), amqp.NULL]
    fields += [amqp.NULL if size is None else amqp.uint(size)] if size or more else []
    body = amqp.described_list(frames.OPEN, fields)
    raw = struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body
    (opened,) = frames.FrameSplitter().feed(raw)
    lowered = amqp.decode_uint(opened.fields()[2])
    assert lowered is not None
    assert lowered < min(size or 2**32, frames.MAX_FRAME_SIZE)
    assert int.from_bytes(opened.raw[:4]) == len(opened.raw)


texts = st.text(max_size=20)
messages = st.builds(
    proton.Message,
    body=st.binary(max_size=400),
    properties=st.dictionaries(texts, scalars, max_size=3),
    subject=texts,
    id=st.uuids() | texts,
    annotations=st.dictionaries(
        st.sampled_from(["x-own", "x-opt-partition-key", "x-opt-offset"]).map(proton.symbol),
        texts,
        max_size=3,
    ),
    durable=st.booleans(),
)


@unhurried
@given(messages)
def test_a_stored_message_is_the_one_that_came_with_its_place(sent: proton.Message) -> None:
    sent.inferred = True
    kept = message.stamp(message.parse(bytes(sent.encode())), 7, 1234, 1_700_000_000_000)
    told_too = message.with_runtime_metric(kept, kept, "1234", 1_700_000_000_001)
    for data in (kept.encoded, told_too):
        got = proton.Message()
        got.decode(data)
        assert got.body == sent.body
        assert got.properties == sent.properties
        assert (got.subject, got.id, got.durable) == (sent.subject, sent.id, sent.durable)
        annotations = dict(got.annotations or {})
        assert annotations.pop("x-opt-sequence-number") == 7
        assert annotations.pop("x-opt-offset") == "1234"
        assert annotations.pop("x-opt-enqueued-time") == 1_700_000_000_000
        own = dict(sent.annotations or {})
        own.pop("x-opt-offset", None)
        assert annotations == own
    told = decode_payload(memoryview(data)).delivery_annotations
    assert told is not None
    assert told[b"last_enqueued_sequence_number"] == 7


@unhurried
@given(st.lists(messages, max_size=4), st.none() | texts.filter(bool))
def test_a_batch_is_its_messages(sent: list[proton.Message], key: str | None) -> None:
    sections = []
    for each in sent:
        each.inferred = True
        data = bytes(each.encode())
        sections.append(b"\x00\x53\x75" + amqp.binary_prefix(len(data)) + data)
    envelope = b""
    if key is not None:
        pair = [amqp.symbol("x-opt-partition-key"), amqp.string(key)]
        envelope = amqp.described_map(0x72, pair, 2)
    taken = message.split_batch(envelope + b"".join(sections))
    assert len(taken) == len(sent)
    for got, each in zip(taken, sent, strict=True):
        annotations: dict[str, Any] = dict(each.annotations or {})
        own = annotations.get("x-opt-partition-key", key)
        assert got.partition_key == (None if own is None else own.encode())


def test_uuids_are_values() -> None:
    assert amqp.skip(encoded(UUID(int=5)), 0) == 17
