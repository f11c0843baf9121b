"""Messages as bytes: parsed on arrival, encoded once for the partition.

A message is a sequence of sections (AMQP 1.0 specification, part 3.2). The emulator
replaces one of them, the message annotations, by the sender's plus its own
(sequence number, offset, time), and leaves all others as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import amqp

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_FORMAT = 0x80013700
"""Message format of a batch: each of its data sections holds one encoded message."""

_HEADER, _DELIVERY_ANNOTATIONS, _MESSAGE_ANNOTATIONS = 0x70, 0x71, 0x72
_DATA, _LAST_SECTION = 0x75, 0x78

_SEQUENCE_NUMBER = amqp.symbol("x-opt-sequence-number")
_OFFSET = amqp.symbol("x-opt-offset")
_ENQUEUED_TIME = amqp.symbol("x-opt-enqueued-time")
_PARTITION_KEY = amqp.symbol("x-opt-partition-key")
_OWN_ANNOTATIONS = frozenset({_SEQUENCE_NUMBER, _OFFSET, _ENQUEUED_TIME})
_OWN_COUNT = 6  # three keys and their values

# The last enqueued event of the partition, as the SDKs read it from the delivery annotations
# (azure-eventhub, `_constants.py`, PROP_LAST_ENQUEUED_...).
_LAST_SEQUENCE_NUMBER = amqp.symbol("last_enqueued_sequence_number")
_LAST_OFFSET = amqp.symbol("last_enqueued_offset")
_LAST_TIME = amqp.symbol("last_enqueued_time_utc")
_RETRIEVAL_TIME = amqp.symbol("runtime_info_retrieval_time_utc")


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way into a partition, cut into the parts that matter.

    `annotations` are the sender's message annotations as encoded keys and values,
    `header` is the encoded header section or empty, `rest` are the encoded sections
    after the annotations. `partition_key` is None where the sender gave none.
    """

    rest: tuple[bytes | memoryview, ...]
    header: bytes = b""
    annotations: tuple[bytes, ...] = ()
    partition_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in a partition: the encoded message, and what positions refer to.

    `offset` counts bytes from the beginning of the partition, `enqueued_ms` is the
    time in milliseconds since the Unix epoch, `header_size` the number of bytes of
    the header section that `encoded` starts with.
    """

    sequence_number: int
    offset: int
    enqueued_ms: int
    header_size: int
    encoded: bytes


def of_body(body: bytes, partition_key: str | None = None) -> Message:
    """Make a message that has only a body, and a partition key where given."""
    rest = (bytes((0x00, 0x53, _DATA)) + amqp.binary_prefix(len(body)), body)
    if partition_key is None:
        return Message(rest)
    annotations = (_PARTITION_KEY, amqp.string(partition_key))
    return Message(rest, annotations=annotations, partition_key=partition_key.encode())


def _sections(encoded: memoryview) -> Iterator[tuple[int, memoryview]]:
    start = 0
    while start < len(encoded):
        code, _ = amqp.descriptor(encoded, start)
        if not _HEADER <= code <= _LAST_SECTION:
            raise amqp.malformed(f"0x{code:02x} is not a section of a message")
        end = amqp.skip(encoded, start)
        yield code, encoded[start:end]
        start = end


def parse(encoded: bytes | memoryview, batch_key: bytes | None = None) -> Message:
    """Take an encoded message apart.

    `batch_key` is the encoded partition key of the batch it comes from, if any. Raises
    RefusedError where the bytes are not a message.
    """
    header = b""
    annotations: tuple[bytes, ...] = ()
    rest: list[bytes | memoryview] = []
    for code, section in _sections(memoryview(encoded)):
        if code == _HEADER:
            header = bytes(section)
        elif code == _MESSAGE_ANNOTATIONS:
            annotations = _annotations(section)
        elif code != _DELIVERY_ANNOTATIONS:
            rest.append(section)
    key = _encoded_key(annotations)
    if key is None and batch_key is not None:
        key = batch_key
        annotations = (*annotations, _PARTITION_KEY, key)
    return Message(tuple(rest), header, annotations, None if key is None else _content(key))


def _content(key: bytes) -> bytes | None:
    """Return the bytes to route by: the service ignores keys that are not text, null included."""
    return amqp.decode_bytes(key) if amqp.is_text(key) else None


def _annotations(section: memoryview) -> tuple[bytes, ...]:
    _, start = amqp.descriptor(section, 0)
    _, first, end = amqp.compound(section, start)
    items = list(amqp.values(section, first, end))
    if len(items) % 2:
        raise amqp.malformed("a map has a key without a value")
    pairs = zip(items[::2], items[1::2], strict=True)
    return tuple(part for pair in pairs if pair[0] not in _OWN_ANNOTATIONS for part in pair)


def _encoded_key(annotations: tuple[bytes, ...]) -> bytes | None:
    for name, value in zip(annotations[::2], annotations[1::2], strict=True):
        if name == _PARTITION_KEY:
            return value
    return None


def split_batch(encoded: bytes | memoryview) -> list[Message]:
    """Take a message of format BATCH_FORMAT apart into the messages it carries."""
    envelope = parse(encoded)
    batch_key = _encoded_key(envelope.annotations)
    messages = []
    for section in envelope.rest:
        code, start = amqp.descriptor(section, 0)
        if code == _DATA:
            content = amqp.decode_bytes(section[start:])
            messages.append(parse(content, batch_key))
    return messages


def stamp(
    message: Message, sequence_number: int, offset: int, enqueued_ms: int, offset_prefix: str = ""
) -> StoredEvent:
    """Encode a message the way it is kept and sent: once, with its place in the partition."""
    annotations = amqp.described_map(
        _MESSAGE_ANNOTATIONS,
        (
            _SEQUENCE_NUMBER,
            amqp.long(sequence_number),
            _OFFSET,
            amqp.string(f"{offset_prefix}{offset}"),
            _ENQUEUED_TIME,
            amqp.timestamp(enqueued_ms),
            *message.annotations,
        ),
        _OWN_COUNT + len(message.annotations),
    )
    encoded = b"".join((message.header, annotations, *message.rest))
    return StoredEvent(sequence_number, offset, enqueued_ms, len(message.header), encoded)


def with_runtime_metric(
    event: StoredEvent, last: StoredEvent, last_offset: str, now_ms: int
) -> bytes:
    """Return an event's bytes with delivery annotations that tell the partition's last event.

    `last_offset` is the offset of `last` as clients see it.
    """
    annotations = amqp.described_map(
        _DELIVERY_ANNOTATIONS,
        (
            _LAST_SEQUENCE_NUMBER,
            amqp.long(last.sequence_number),
            _LAST_OFFSET,
            amqp.string(last_offset),
            _LAST_TIME,
            amqp.timestamp(last.enqueued_ms),
            _RETRIEVAL_TIME,
            amqp.timestamp(now_ms),
        ),
        8,
    )
    header = event.header_size
    return b"".join((event.encoded[:header], annotations, memoryview(event.encoded)[header:]))
