"""AMQP frames: cuts the incoming stream into them, completes the outgoing ones.

Proton takes and gives a stream of bytes; three things have to be done to the
frames in it, because its interface does not offer them:

- The peer's frame size is lowered in its `open`, so that outgoing frames stay
  within the service's 64 KiB even after they have been padded.
- The message format of a transfer and the capabilities desired by an attach are
  read here, because proton drops them.
- Outgoing performatives are padded with nulls to their full field count. AMQP lets
  a sender omit trailing nulls, and proton does; the Python SDK
  (azure-eventhub, `_pyamqp/_decode.py` and its users) indexes the fields without
  looking at their number, as the service always sends all of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import amqp
from .errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN, BEGIN, ATTACH, FLOW, TRANSFER = 0x10, 0x11, 0x12, 0x13, 0x14
DISPOSITION, DETACH, END, CLOSE = 0x15, 0x16, 0x17, 0x18
_ERROR, _SOURCE, _TARGET = 0x1D, 0x28, 0x29

# Number of fields of each composite type: AMQP 1.0 specification, parts 2.7, 2.8.14 and 3.5.
FIELD_COUNTS = {
    OPEN: 10,
    BEGIN: 8,
    ATTACH: 14,
    FLOW: 11,
    TRANSFER: 11,
    DISPOSITION: 6,
    DETACH: 3,
    END: 1,
    CLOSE: 1,
    _ERROR: 3,
    _SOURCE: 11,
    _TARGET: 7,
}

MAX_FRAME_SIZE = 65536
"""The largest frame the service sends and accepts, in bytes."""

_PADDING_ROOM = 16  # more than the nulls that a transfer can need
_HEADER_SIZE = 8
_MAX_FRAME_SIZE_FIELD = 2
_MESSAGE_FORMAT_FIELD = 3
# A transfer's fields end within so many bytes: 11 of them, the tag at most 32 bytes long.
_TRANSFER_HEAD = 128
_FRAME_HEADER = struct.Struct(">IBBH")
_UINT32 = struct.Struct(">I")
_AMQP_FRAME, _SASL_FRAME = 0, 1
_LIST_8 = 0xC0


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as received.

    `code` is that of its performative, None for a heartbeat, a SASL frame, a protocol
    header and bytes that are not a frame.
    """

    raw: bytes
    code: int | None = None

    def fields(self) -> list[bytes]:
        """Return the encoded fields of the performative."""
        _, start = amqp.descriptor(self.raw, self.raw[4] * 4)
        _, first, end = amqp.compound(self.raw, start)
        return list(amqp.values(self.raw, first, end))


def message_format(transfer: Frame) -> int | None:
    """Return the message format that a transfer gives; the first of a delivery has to."""
    fields = transfer.fields()
    given = len(fields) > _MESSAGE_FORMAT_FIELD
    return amqp.decode_uint(fields[_MESSAGE_FORMAT_FIELD]) if given else None


class FrameSplitter:
    """Cuts the incoming stream of bytes into frames; it may arrive in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in bytes and yield the frames they complete."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEADER_SIZE:
            size = self._frame_size(start)
            if len(self._buffer) - start < size:
                break
            yield _parse(bytes(self._buffer[start : start + size]))
            start += size
        del self._buffer[:start]

    def _frame_size(self, start: int) -> int:
        if self._buffer.startswith(b"AMQP", start):
            return _HEADER_SIZE
        size: int = _UINT32.unpack_from(self._buffer, start)[0]
        if not _HEADER_SIZE <= size <= MAX_FRAME_SIZE:
            # This frame is not allowed here: proton gets it unchanged and closes the connection.
            return len(self._buffer) - start
        return size


def _parse(raw: bytes) -> Frame:
    if raw.startswith(b"AMQP"):
        return Frame(raw)
    _, data_offset, kind, _ = _FRAME_HEADER.unpack_from(raw)
    if kind != _AMQP_FRAME or len(raw) <= data_offset * 4:
        return Frame(raw)
    try:
        code, _ = amqp.descriptor(raw, data_offset * 4)
        return Frame(_limit_frame_size(raw) if code == OPEN else raw, code)
    except RefusedError:
        return Frame(raw)  # proton tells the peer what is wrong with it


def _limit_frame_size(raw: bytes) -> bytes:
    """Return the open frame with a frame size that leaves room for padding."""
    fields = Frame(raw).fields()
    fields += [amqp.NULL] * (_MAX_FRAME_SIZE_FIELD + 1 - len(fields))
    wanted = amqp.decode_uint(fields[_MAX_FRAME_SIZE_FIELD])
    allowed = MAX_FRAME_SIZE if wanted is None else min(wanted, MAX_FRAME_SIZE)
    fields[_MAX_FRAME_SIZE_FIELD] = amqp.uint(allowed - _PADDING_ROOM)
    return _frame(raw[: raw[4] * 4], amqp.described_list(OPEN, fields))


def _frame(header: bytes, body: bytes) -> bytes:
    return _UINT32.pack(len(header) + len(body)) + header[4:] + body


class FramePadder:
    """Pads the performatives in the outgoing stream of bytes, which may come in any pieces.

    The payload of a transfer goes through as views of the given pieces, without a copy.
    """

    def __init__(self) -> None:
        self._pending = b""  # the beginning of a frame that is not yet complete enough
        self._payload = 0  # bytes of the current frame that go through as they are

    def feed(self, data: bytes | bytearray) -> list[bytes | memoryview]:
        """Take in bytes; return pieces that make up the padded stream so far."""
        view = memoryview(self._pending + data if self._pending else data)
        pieces: list[bytes | memoryview] = []
        start = 0
        while start < len(view):
            if self._payload:
                piece = view[start : start + self._payload]
                self._payload -= len(piece)
                pieces.append(piece)
                start += len(piece)
                continue
            taken = self._take_head(view, start, pieces)
            if not taken:
                break
            start += taken
        self._pending = bytes(view[start:])
        return pieces

    def _take_head(self, view: memoryview, start: int, pieces: list[bytes | memoryview]) -> int:
        """Append the padded head of the frame at `start`; return its size before, 0 to wait."""
        available = len(view) - start
        if available < _HEADER_SIZE:
            return 0
        if bytes(view[start : start + 4]) == b"AMQP":
            pieces.append(view[start : start + _HEADER_SIZE])
            return _HEADER_SIZE
        size, data_offset, kind, _ = _FRAME_HEADER.unpack_from(view, start)
        body = start + data_offset * 4
        if available < min(size, _TRANSFER_HEAD):
            return 0
        if kind == _SASL_FRAME or size == data_offset * 4:
            self._payload = size - _HEADER_SIZE
            pieces.append(view[start : start + _HEADER_SIZE])
            return _HEADER_SIZE
        if view[body + 2] == TRANSFER:
            return self._take_transfer(view, start, size, pieces)
        if available < size:
            return 0
        padded = pad(bytes(view[body : start + size]))
        pieces.append(_frame(bytes(view[start:body]), padded))
        return int(size)

    def _take_transfer(
        self, view: memoryview, start: int, size: int, pieces: list[bytes | memoryview]
    ) -> int:
        # Proton writes: 00 53 14 c0 <size> <count> <fields>.
        body = start + view[start + 4] * 4
        assert view[body + 3] == _LIST_8, "a transfer's fields fit a short list"
        list_size, count = view[body + 4], view[body + 5]
        nulls = FIELD_COUNTS[TRANSFER] - count
        end = body + 5 + list_size
        pieces.append(
            b"".join(
                (
                    _UINT32.pack(size + nulls),
                    view[start + 4 : body + 4],
                    bytes((list_size + nulls, FIELD_COUNTS[TRANSFER])),
                    view[body + 6 : end],
                    amqp.NULL * nulls,
                )
            )
        )
        self._payload = size - (end - start)
        return end - start


def pad(encoded: bytes) -> bytes:
    """Return an encoded performative with all its fields, and all those of nested composites."""
    code, start = amqp.descriptor(encoded, 0)
    _, first, end = amqp.compound(encoded, start)
    items = [_pad_field(item) for item in amqp.values(encoded, first, end)]
    items += [amqp.NULL] * (FIELD_COUNTS[code] - len(items))
    return amqp.described_list(code, items)


def _pad_field(item: bytes) -> bytes:
    nested = item[:2] == b"\x00\x53" and item[2] in FIELD_COUNTS
    return pad(item) if nested else item
