"""The second protection against secrets in the log.

The first one is that no code passes a secret on: the configuration keeps them in `Secret`. But
messages of libraries, exceptions and tracebacks may hold anything. So everything that goes into a
log line becomes plain data here, and every known secret and all that looks like one is masked.
"""

import re
from collections.abc import Callable, Iterable, Mapping

MASK = "***"

_MIN_REGISTERED = 4
"""A shorter text occurs everywhere: to mask it would hide nothing and make the log unreadable."""
_MAX_DEPTH = 50
"""Levels of nesting that are shown; the frames of nested exception groups need fewer."""

_NAMES = re.compile(
    r"password|passwd|secret|authorization|connection_?string|credential"
    r"|(?:access|account|api)_?key$|signature$",
    re.IGNORECASE,
)
"""Names of fields whose value is always masked."""

_QUOTED = r"""b?"[^"]*"|b?'[^']*'"""
_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL; it ends at the last @ before the path.
    (re.compile(r"(?<=://)[^\s/?#\"'<>]*@"), f"{MASK}@"),
    # Authorization: Basic …, also in the repr of a dict or of header pairs.
    (re.compile(rf"(authorization['\"]?\s*[:=,]\s*)(?:{_QUOTED})", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(authorization\s*[:=]\s*)[^\r\n\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # The value of a signature begins with its own name and a blank: "…=SharedAccessSignature sr=…"
    (
        re.compile(
            r"(SharedAccessSignature['\"]?\s*[:=]\s*['\"]?)"
            r"(?:SharedAccessSignature\s+)?[^\s;\"']+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(r"((?:SharedAccess|Account)Key['\"]?\s*[:=]\s*['\"]?)[^\s;\"']+", re.IGNORECASE),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?<![A-Za-z])(sig=)[^&\s;\"']+", re.IGNORECASE), rf"\1{MASK}"),
)
_HINT = re.compile(r"@|auth|key|sig", re.IGNORECASE)
"""Each of the patterns needs one of these; most texts have none, so that one search is enough."""


class Redactor:
    """Masks registered secrets and what looks like a secret."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._mask_known: Callable[[str], str] = str

    def register(self, values: Iterable[str]) -> None:
        """Mask these texts from now on, wherever they occur, except very short ones."""
        self._known |= {value for value in values if len(value) >= _MIN_REGISTERED}
        if self._known:
            # The longest first: a part that is masked first would leave the rest of the whole.
            ordered = sorted(self._known, key=len, reverse=True)
            pattern = re.compile("|".join(map(re.escape, ordered)))
            self._mask_known = lambda text: pattern.sub(MASK, text)

    def text(self, text: str) -> str:
        """Return a text with its secrets masked."""
        text = self._mask_known(text)
        if _HINT.search(text):
            for pattern, replacement in _LOOKS:
                text = pattern.sub(replacement, text)
        return text

    def plain(self, value: object, above: tuple[int, ...] = ()) -> object:
        """Turn a value into types that JSON has, with secrets masked; unknown types become text.

        `above` holds the ids of the containers around the value, to detect a cycle.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            if id(value) in above or len(above) >= _MAX_DEPTH:
                return "..."
            return self._container(value, (*above, id(value)))
        return self.text(_shown(value))

    def _container(self, value: Iterable[object], above: tuple[int, ...]) -> object:
        if isinstance(value, Mapping):
            return {
                self.text(_shown(key)): self._field(key, item, above) for key, item in value.items()
            }
        return [self.plain(item, above) for item in value]

    def _field(self, key: object, value: object, above: tuple[int, ...]) -> object:
        if isinstance(key, str) and isinstance(value, str | bytes) and _NAMES.search(key):
            return MASK
        return self.plain(value, above)

    def _number(self, value: float) -> object:
        """Return a number as it is, unless it holds a secret: a password may be digits only."""
        plain = value if type(value) in {int, float} else value + 0
        if not self._known:
            return plain
        text = str(plain)
        masked = self._mask_known(text)
        return plain if masked == text else masked


def _shown(value: object) -> str:
    """Return a value's text. Its __str__ is foreign code, and must not break the log line."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a foreign __str__ may raise anything, and a log line must not end its caller
        return f"<{type(value).__name__}: no text, {type(error).__name__}>"
