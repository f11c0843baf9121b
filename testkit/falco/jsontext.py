"""Where Falco's parser and msgspec differ in the JSON that they accept. Pure."""

import re
from collections.abc import Iterable

MAX_DEPTH = 300
"""valyala/fastjson's `MaxDepth`; a scalar counts as one more level."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]",:]+', re.DOTALL)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    rb"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|.)",
    re.DOTALL,
)


def depth(text: bytes) -> int:
    """Count the levels of a valid JSON text as fastjson does."""
    level = deepest = 0
    for token in _TOKEN.findall(text):
        if token in {b"}", b"]"}:
            level -= 1
        else:
            deepest = max(deepest, level + 1)
            level += token in {b"{", b"["}
    return deepest


def may_be_deep(text: bytes) -> bool:
    """Return whether the depth of an event has to be counted; much cheaper than counting."""
    return text.count(b"{") + text.count(b"[") > MAX_DEPTH - 10


def mend_surrogates(text: bytes) -> bytes:
    r"""Replace the escapes of lone surrogates by `\ufffd`, which is as long.

    They are valid JSON (RFC 8259, section 8.2) and Falco takes them; msgspec does not.
    """
    return _ESCAPE.sub(lambda match: b"\\ufffd" if match["lone"] else match[0], text)


def originals(items: Iterable[bytes], mended: bytes, text: bytes) -> list[bytes]:
    """Find the original bytes of the items of a mended text."""
    found, at = [], 0
    for item in items:
        at = mended.index(item, at)
        found.append(text[at : at + len(item)])
        at += len(item)
    return found
