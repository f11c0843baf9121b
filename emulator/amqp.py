"""The part of the AMQP 1.0 type encoding that is needed to separate encoded values.

Events pass through the emulator as bytes. To find a section, a field or an
annotation it is enough to know how long an encoded value is, and that follows
from its format code (AMQP 1.0 specification, part 1.2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .errors import DECODE_ERROR, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Buffer = bytes | bytearray | memoryview

NULL = b"\x40"

_DESCRIBED = 0x00
_LIST_0, _LIST_8, _LIST_32 = 0x45, 0xC0, 0xD0
_MAP_8, _MAP_32 = 0xC1, 0xD1
_SMALL_ULONG, _ULONG = 0x53, 0x80
_UINT, _SMALL_UINT, _UINT_0 = 0x70, 0x52, 0x43
_STRING_8, _STRING_32 = 0xA1, 0xB1
_SYMBOL_8 = 0xA3

_UINT32 = struct.Struct(">I")
_UINT64 = struct.Struct(">Q")
_INT64 = struct.Struct(">q")

# Format codes 0x4_ to 0x9_ have no length of their own: the upper half byte tells the width.
_FIXED_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_SHORT_TEXT, _LONG_TEXT = 0xA, 0xB
_BYTE_SIZED = frozenset({_SHORT_TEXT, 0xC, 0xE})
_WORD_SIZED = frozenset({_LONG_TEXT, 0xD, 0xF})
_BYTE_MAX = 0xFF
_MAX_NESTING = 8  # of described values; AMQP itself nests two


def malformed(what: str) -> RefusedError:
    """The error for bytes that are not an AMQP encoding; `what` names the fault."""
    return RefusedError(DECODE_ERROR, f"malformed AMQP value: {what}")


def skip(buffer: Buffer, start: int, nesting: int = 0) -> int:
    """Return the index after the value that starts at `start`.

    Raises RefusedError (decode-error) where the bytes are not an AMQP value or end too early.
    """
    try:
        end = _end_of_value(buffer, start, nesting)
    except (IndexError, struct.error):
        raise malformed("it ends too early") from None
    if end > len(buffer):
        raise malformed("it ends too early")
    return end


def _end_of_value(buffer: Buffer, start: int, nesting: int) -> int:
    code = buffer[start]
    if code == _DESCRIBED:
        if nesting == _MAX_NESTING:
            raise malformed("it is nested too deeply")
        return skip(buffer, skip(buffer, start + 1, nesting + 1), nesting + 1)
    kind = code >> 4
    if kind in _FIXED_WIDTHS:
        return start + 1 + _FIXED_WIDTHS[kind]
    if kind in _BYTE_SIZED:
        return start + 2 + buffer[start + 1]
    if kind in _WORD_SIZED:
        size: int = _UINT32.unpack_from(buffer, start + 1)[0]
        return start + 5 + size
    raise malformed(f"unknown format code 0x{code:02x}")


def values(buffer: Buffer, start: int, end: int) -> Iterator[bytes]:
    """Yield the encoded values between two indexes, each as its own bytes."""
    while start < end:
        following = skip(buffer, start)
        yield bytes(buffer[start:following])
        start = following


def descriptor(buffer: Buffer, start: int) -> tuple[int, int]:
    """Return the numeric descriptor of the described value at `start`, and where its value is."""
    try:
        if buffer[start] != _DESCRIBED:
            raise malformed("a described value was expected")
        if buffer[start + 1] == _SMALL_ULONG:
            return buffer[start + 2], start + 3
        if buffer[start + 1] == _ULONG:
            return _UINT64.unpack_from(buffer, start + 2)[0], start + 10
    except (IndexError, struct.error):
        raise malformed("it ends too early") from None
    raise malformed("a numeric descriptor was expected")


def compound(buffer: Buffer, start: int) -> tuple[int, int, int]:
    """Return the item count of the list or map at `start`, and where its items begin and end."""
    end = skip(buffer, start)
    code = buffer[start]
    if code == _LIST_0:
        return 0, end, end
    if code in (_LIST_8, _MAP_8):
        return buffer[start + 2], start + 3, end
    if code in (_LIST_32, _MAP_32):
        return _UINT32.unpack_from(buffer, start + 5)[0], start + 9, end
    raise malformed("a list or a map was expected")


def described_list(code: int, items: Sequence[bytes]) -> bytes:
    """Encode a list of encoded items behind a numeric descriptor below 256."""
    return bytes((_DESCRIBED, _SMALL_ULONG, code)) + _compound(_LIST_8, items, len(items))


def described_map(code: int, items: Sequence[bytes], count: int) -> bytes:
    """Encode a map behind a numeric descriptor below 256.

    `items` are encoded keys and values, one or more in a piece; `count` is how many
    they are altogether.
    """
    return bytes((_DESCRIBED, _SMALL_ULONG, code)) + _compound(_MAP_8, items, count)


def _compound(small_code: int, items: Sequence[bytes], count: int) -> bytes:
    body = b"".join(items)
    if len(body) + 1 <= _BYTE_MAX and count <= _BYTE_MAX:
        return bytes((small_code, len(body) + 1, count)) + body
    large_code = small_code + 0x10
    return bytes((large_code,)) + struct.pack(">II", len(body) + 4, count) + body


def symbol(text: str) -> bytes:
    """Encode a symbol of at most 255 ASCII characters."""
    raw = text.encode("ascii")
    return bytes((_SYMBOL_8, len(raw))) + raw


def string(text: str) -> bytes:
    """Encode a string."""
    raw = text.encode()
    if len(raw) <= _BYTE_MAX:
        return bytes((_STRING_8, len(raw))) + raw
    return bytes((_STRING_32,)) + _UINT32.pack(len(raw)) + raw


def long(value: int) -> bytes:
    """Encode a signed number of 64 bits."""
    return b"\x81" + _INT64.pack(value)


def timestamp(milliseconds: int) -> bytes:
    """Encode a time, in milliseconds since the Unix epoch."""
    return b"\x83" + _INT64.pack(milliseconds)


def uint(value: int) -> bytes:
    """Encode an unsigned number of 32 bits."""
    return bytes((_UINT,)) + _UINT32.pack(value)


def binary_prefix(size: int) -> bytes:
    """Encode what comes before the bytes of a binary value of that many bytes."""
    return bytes((0xA0, size)) if size <= _BYTE_MAX else b"\xb0" + _UINT32.pack(size)


def decode_uint(encoded: bytes) -> int | None:
    """Return the number of an encoded uint, None for null."""
    code = encoded[0]
    if code == NULL[0]:
        return None
    if code == _UINT_0:
        return 0
    if code == _SMALL_UINT:
        return encoded[1]
    if code == _UINT:
        return int(_UINT32.unpack_from(encoded, 1)[0])
    raise malformed("an unsigned number was expected")


def is_text(encoded: Buffer) -> bool:
    """Tell whether an encoded value is a binary, a string or a symbol."""
    return encoded[0] >> 4 in (_SHORT_TEXT, _LONG_TEXT)


def decode_bytes(encoded: Buffer) -> bytes:
    """Return the content of an encoded binary, string or symbol."""
    if not is_text(encoded):
        raise malformed("a string, a symbol or a binary was expected")
    return bytes(encoded[2 if encoded[0] >> 4 == _SHORT_TEXT else 5 :])
