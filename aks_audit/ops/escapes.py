"""Characters that a reader's terminal or pager would obey, shown as text instead.

Names of users, clusters and files come from others. Raw in a log or on a terminal, an escape
sequence moves the cursor, U+2028 begins a new line for some readers, and a bidirectional mark
shows the text in another order than it has ("Trojan Source", CVE-2021-42574).
"""

import json
from typing import Any

import msgspec

_MARKS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Marks of direction, with the separators of lines and paragraphs (U+2028, U+2029) among them."""
_OBEYED = (*range(32), *range(127, 160), *_MARKS)
"""The C0 and C1 controls, DEL, and the marks."""
_AS_TEXT = {code: f"\\x{code:02x}" for code in _OBEYED} | {c: f"\\u{c:04x}" for c in _MARKS}
_IN_LINES = {code: text for code, text in _AS_TEXT.items() if chr(code) not in "\n\t"}
_IN_JSON = {code: f"\\u{code:04x}" for code in _OBEYED}


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text in which such characters are written as Python writes them: ``\x1b``.

    Args:
        text: Any text.
        lines: Whether line breaks and tabs stay.
    """
    return text.translate(_IN_LINES if lines else _AS_TEXT)


def json_line(value: Any) -> str:
    """Encode a value of JSON's types on one line, in which such characters are JSON's escapes."""
    try:
        line = msgspec.json.encode(value).decode()
    except (ValueError, OverflowError):  # lone surrogates, integers over 64 bits
        line = json.dumps(value)
    # In JSON they stand within strings only. Most lines are ASCII without DEL.
    return line if line.isascii() and "\x7f" not in line else line.translate(_IN_JSON)
