"""The second line of defence against secrets in the log.

The first is that no code hands one over: the configuration keeps them in Secret. But messages of
libraries, exceptions and tracebacks hold what they like, so everything on its way to a log line is
made plain data here, with whatever is known or looks like a secret masked.
"""

import re
from collections.abc import Callable, Iterable, Mapping

MASK = "***"

_MIN_REGISTERED = 4
"""Masking a shorter text would hide nothing and make the log unreadable."""
_MAX_DEPTH = 50
"""Deeper structures end there; the frames of a few nested exception groups do not reach it."""

_NAMES = re.compile(
    r"password|passwd|secret|authorization|connection_?string|credential"
    r"|(?:access|account|api)_?key$|signature$",
    re.IGNORECASE,
)
"""Fields whose value is masked whatever it looks like."""

_QUOTED = r"""b?"[^"]*"|b?'[^']*'"""
_LOOKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ of a URL; the last @ before the path ends it.
    (re.compile(r"(?<=://)[^\s/?#\"'<>]*@"), f"{MASK}@"),
    # Authorization: Basic …, also inside the repr of a dict or of pairs of headers.
    (re.compile(rf"(authorization['\"]?\s*[:=,]\s*)(?:{_QUOTED})", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(authorization\s*[:=]\s*)[^\r\n\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # A signature's value begins with its own name and holds a blank: "…=SharedAccessSignature sr=…"
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
"""What each of the patterns needs: most texts hold none of it, and are looked at once."""


class Redactor:
    """Masks what was registered and what looks like a secret."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._mask_known: Callable[[str], str] = str

    def register(self, values: Iterable[str]) -> None:
        """Mask these from now on, wherever they occur; very short ones are left alone."""
        self._known |= {value for value in values if len(value) >= _MIN_REGISTERED}
        if self._known:
            # The longest first, lest a part leaves the rest of a whole behind.
            ordered = sorted(self._known, key=len, reverse=True)
            pattern = re.compile("|".join(map(re.escape, ordered)))
            self._mask_known = lambda text: pattern.sub(MASK, text)

    def text(self, text: str) -> str:
        """Mask within a text."""
        text = self._mask_known(text)
        if _HINT.search(text):
            for pattern, replacement in _LOOKS:
                text = pattern.sub(replacement, text)
        return text

    def plain(self, value: object, above: tuple[int, ...] = ()) -> object:
        """Turn a value into what JSON knows, masked throughout; unknown types become text.

        The ids of the containers around the value tell a cycle.
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
        """Keep numbers, unless one is a secret: a password may well be digits only."""
        plain = value if type(value) in {int, float} else value + 0
        if not self._known:
            return plain
        text = str(plain)
        masked = self._mask_known(text)
        return plain if masked == text else masked


def _shown(value: object) -> str:
    """Give a value's text. Code of whoever made it runs here, and must not break the log line."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - anything may happen in a foreign __str__
        return f"<{type(value).__name__}: no text, {type(error).__name__}>"
