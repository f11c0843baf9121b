"""The scanner for JSON texts that no parser takes, and for the places of values.

A text that was cut, or that nests deeper than a parser follows, still has elements that are whole.
And a parser says what a value is, but not where it stands. Everything here is linear in time: the
scanner looks at each byte once, whatever the text. It does not validate.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
"""The byte order mark that some writers put before UTF-8. It is not a part of the JSON text."""

_OTHER = rb'[^"{}\[\],]*+'
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
"""The end of a string may be missing. Were it required, then in a text that is cut within a string
each quote of that string would be tried as a beginning, in vain and up to the end of the text."""
_PIECE = re.compile(
    rb"(?!\Z)[{}\[\],]?+" + _OTHER + rb"(?:" + _STRING + _OTHER + rb")*+", re.DOTALL
)
_OPENING, _CLOSING, _COMMA = frozenset(b"{["), frozenset(b"}]"), ord(",")


class Element(NamedTuple):
    """A value in a list, or a member (key, colon and value) of an object."""

    text: bytes
    whole: bool
    """False where the text ends within the element, or right behind it."""


def _scan(text: bytes, start: int = 0) -> Iterator[tuple[re.Match[bytes], int, int]]:
    """Cut a text into pieces, each of which is a mark and what follows it up to the next mark.

    A mark is a bracket of either kind or a comma, outside strings. Only the first piece may have
    none. Gives each piece with its first byte, and the number of lists and objects that are open
    behind the mark. Only those that open within the scan count, so it is negative behind the end
    of one that opens before.
    """
    depth = 0
    for piece in _PIECE.finditer(text, start):
        first = text[piece.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
        yield piece, first, depth


def elements(text: bytes, start: int) -> Iterator[Element]:
    """The elements of a list or an object, without the white space around them.

    Args:
        text: any bytes.
        start: where the first element begins: behind the bracket that opens the list or object, or
            behind the colon of a member, whose value then is the first element.
    """
    for piece, first, around in _scan(text, start):
        if around < 0 or (around == 0 and first == _COMMA):
            element = text[start : piece.start()].strip()
            if element:
                yield Element(element, whole=True)
            if around < 0:
                return
            start = piece.start() + 1
    rest = text[start:].strip()
    if rest:
        yield Element(rest, whole=False)


def depth(text: bytes) -> int:
    """How many values lie inside one another at most, in a valid JSON object or list.

    A scalar is a value as well: ``[]`` has a depth of 1, and ``[0]`` of 2.
    """
    deepest = 0
    for piece, _, around in _scan(text):
        if around >= deepest:
            inside = text[piece.start() + 1 : piece.end()].strip()
            deepest = around + bool(inside)
    return deepest


def value_start(text: bytes, key: bytes) -> int:
    """Where the value of a member begins in a valid JSON object; -1 where there is no such member.

    Of several members with the same key it is the last one that counts, as for msgspec.

    Args:
        text: the JSON object.
        key: the key as it is written, without its quotes. Keys that are written with other escapes
            are not found.
    """
    member = re.compile(rb'\s*"%s"\s*:\s*' % re.escape(key))
    found = -1
    for piece, _, around in _scan(text):
        if around == 1 and (match := member.match(text, piece.start() + 1)):
            found = match.end()
    return found


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|.)",
    re.DOTALL,
)


def replace_lone_surrogates(text: bytes) -> bytes:
    r"""Replace the escapes of lone surrogates by ``\ufffd`` (U+FFFD), as Go's decoders read them.

    Lone surrogates are JSON (RFC 8259, section 8.2), but msgspec refuses them. The length stays the
    same, so every other byte keeps its place.
    """
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match["lone"] else match[0], text)
