"""Where the elements of a JSON text lie, for texts that no parser takes. Pure.

A text that was cut, or that nests deeper than a parser follows, still has
elements that are whole. Each character is looked at once, whatever the text.
"""

import re
from collections.abc import Iterator

# A string need not end: were it to, each quote in the rest of a cut one would be tried in vain,
# to the end of the text.
_PART = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\],]', re.DOTALL)
_OPENING, _CLOSING, _COMMA = frozenset(b"{["), frozenset(b"}]"), ord(",")


def elements(text: bytes, start: int) -> Iterator[tuple[bytes, bool]]:
    """The elements of a list or object, and whether each is whole.

    The container is the one that opens right before ``start``. Where the text
    is cut, its last element may be incomplete, and counts as such.
    """
    depth = 0
    for part in _PART.finditer(text, start):
        kind = text[part.start()]
        if kind in _OPENING:
            depth += 1
        elif kind in _CLOSING:
            depth -= 1
        if depth < 0 or (depth == 0 and kind == _COMMA):
            element = text[start : part.start()].strip()
            if element:
                yield element, True
            if depth < 0:
                return
            start = part.end()
    rest = text[start:].strip()
    if rest:
        yield rest, False
