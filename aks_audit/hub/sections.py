"""The sections of an AMQP message that the SDK cannot decode.

The SDK decodes a message recursively, and ends the link of the partition when that fails. So a
value that nests some 1,000 deep stopped its partition for good, because the message came again
after each attempt. Here the sections are found without decoding them: an AMQP value says its own
size (AMQP 1.0, part 1.6). Each section is then decoded for itself. A body that cannot be decoded
stays as its encoded bytes, and becomes a dead letter; of annotations, only the pairs that cannot
be decoded are left out. Pure.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

MAP_LARGE = b"\xd1"
_MAPS = {0xC1: (1, 1), 0xD1: (4, 4)}
"""Bytes of the size and of the count of a map, by its constructor."""
_FIRST, _DATA = 0x70, 0x75
_STRUCTURED = frozenset({0x76, 0x77})
"""Codes of sections (AMQP 1.0, part 3.2): of the first one, and of those of a body, which are data,
sequence and value. The decoder's tuple has the sections in the order of their codes."""
_FIXED = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
"""Bytes of a value of fixed width, by the upper half of its constructor."""
_SIZED = {0xA: 1, 0xB: 4, 0xC: 1, 0xD: 4, 0xE: 1, 0xF: 4}
"""Bytes of the size that precedes other values."""

LEVELS_MAX = 200
"""Levels of a value that is decoded: the SDK and msgspec walk it recursively, each time it is
looked at, and Python takes some 1,000 calls inside one another."""

Decode = Callable[[memoryview], Any]
"""The SDK's decoder: the encoded message, or one section of it, becomes a named tuple of nine."""


class Undecodable(ValueError):
    """The SDK cannot decode this, or what it makes of it cannot be written as JSON."""


def decode(payload: memoryview, decoder: Decode) -> Any:
    """Decode a message with the SDK's decoder, as far as that can.

    A value that cannot be written as JSON later counts as one that cannot be decoded: only here
    its encoded bytes are at hand.

    Raises:
        Exception: What the decoder raises, if the sections cannot be found either.
    """
    try:
        message = _decoded(decoder, payload)
        _check(message.value)
        _check(message.sequence)
    except Undecodable as error:
        return _by_section(payload, decoder, error)
    return message


def _decoded(decoder: Decode, encoded: memoryview) -> Any:
    """What the SDK's decoder makes of bytes. Raises Undecodable."""
    try:
        return decoder(encoded)
    except Exception as error:  # it checks nothing: IndexError, RecursionError, struct.error, …
        raise Undecodable(str(error)) from error


def _check(value: Any, levels: int = 0) -> None:
    """Raise Undecodable for what is not JSON, or nests so deep that writing it may fail."""
    if levels == LEVELS_MAX:
        raise Undecodable("nested too deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str | bytes) for key in value):
            raise Undecodable("a key that is not text")
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        _check(each, levels + 1)


def _by_section(payload: memoryview, decoder: Decode, why: Undecodable) -> Any:
    """Decode section by section. Raises the cause of ``why`` if there are none to be found."""
    data: list[bytes] = []
    try:
        empty = _decoded(decoder, memoryview(b""))
        fields = list(empty)
        for code, section in _sections(payload):
            if code == _DATA:
                data += _decoded(decoder, section)[_DATA - _FIRST]
            elif code in _STRUCTURED:
                data.append(bytes(section[3:]))
            else:
                fields[code - _FIRST] = _field(code, section, decoder)
    except (IndexError, KeyError, struct.error, Undecodable):
        raise why.__cause__ or why from None
    fields[_DATA - _FIRST] = data
    return type(empty)(*fields)


def _sections(payload: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The sections with their codes, each with its descriptor: 0x00, smallulong, code."""
    start = 0
    while start < len(payload):
        end = start + 3 + value_size(payload[start + 3 :])
        yield payload[start + 2], payload[start:end]
        start = end


def _field(code: int, section: memoryview, decoder: Decode) -> Any:
    """What a section says; of a map, the pairs that can be decoded."""
    with suppress(Undecodable):
        return _decoded(decoder, section)[code - _FIRST]
    known: dict[Any, Any] = {}
    for pair in _pairs(section[3:]):
        encoded = bytes(section[:3]) + MAP_LARGE + struct.pack(">II", 4 + len(pair), 2) + pair
        with suppress(Undecodable):
            known |= _decoded(decoder, memoryview(encoded))[code - _FIRST]
    return known or None


def _pairs(value: memoryview) -> Iterator[bytes]:
    """The encoded pairs of a map; none of any other value."""
    size_bytes, count_bytes = _MAPS.get(value[0], (0, 0))
    start = 1 + size_bytes + count_bytes
    while size_bytes and start < len(value):
        middle = start + value_size(value[start:])
        end = middle + value_size(value[middle:])
        yield bytes(value[start:end])
        start = end


def value_size(encoded: memoryview) -> int:
    """How many bytes the first value takes, its constructor included.

    Raises:
        IndexError, KeyError, struct.error: It is cut, or its constructor does not exist.
    """
    at, pending = 0, 1
    while pending:
        constructor = encoded[at]
        at += 1
        pending -= 1
        if constructor == 0:  # a descriptor, then the value that it describes
            pending += 2
        elif (kind := constructor >> 4) in _FIXED:
            at += _FIXED[kind]
        elif _SIZED[kind] == 1:
            at += 1 + encoded[at]
        else:
            at += 4 + struct.unpack_from(">I", encoded, at)[0]
    if at > len(encoded):
        raise IndexError("cut")
    return at
