"""From the environment to parsed values: finds each variable, reads its file, collects problems.

A problem never ends the reading, because whoever deploys wants to see all problems at once. What
may be a mistake (a name that looks like one of ours) becomes a warning instead.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from .variables import VARIABLES, Problem, Variable

T = TypeVar("T")

_TWIN = "_FILE"
_MAX_FILE_BYTES = 64 << 10
"""Every real value is much shorter; a wrong path may name something without an end."""
_SIMILAR = 0.84
"""How similar a name has to be to one of ours, so that POSTMAXRETRY still means POSTMAXRETRIES."""
_SHOWN = re.compile(r"[A-Za-z0-9_ .:+$\[\]-]{1,24}")
"""Which wrong values a message repeats. A key in the wrong variable does not look like this: it is
longer or has other characters."""
_PLACEHOLDER = re.compile(r"<[A-Za-z][^<>]*>")
"""What stands in .envrc.example where a value has to be filled in."""


@dataclass(frozen=True, slots=True)
class Values:
    """What was read. It is asked by variable, so that each answer has that variable's type."""

    parsed: dict[str, Any] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    """The names of the variables that were set, including those with a wrong value."""
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, variable: Variable[T]) -> T:
        """Return the value. Raises KeyError if it is wrong, or not set and without a default."""
        return cast("T", self.parsed[variable.name])

    def find(self, variable: Variable[T]) -> T | None:
        """Return the value, or None where ``values[variable]`` raises KeyError."""
        return cast("T | None", self.parsed.get(variable.name))

    def report(self, variable: Variable[Any], wrong: str) -> None:
        """Note what is wrong with a variable."""
        self.problems.append(Problem(variable.name, wrong, variable.example))


def read(environ: Mapping[str, str]) -> Values:
    """Read every variable of the table."""
    values = Values()
    spellings = _spellings(environ)
    for variable in VARIABLES:
        text = _find(variable, spellings, values)
        if text is not None:
            _parse(variable, text, values)
        elif variable.name not in values.given:
            _default(variable, values)
    values.warnings.extend(_misspelt(environ))
    return values


def _spellings(environ: Mapping[str, str]) -> dict[str, set[str]]:
    """Collect the values by upper-case name; blank ones count as not set, as manifests use them."""
    found: dict[str, set[str]] = {}
    for name, text in environ.items():
        if name.isascii() and text.strip():
            found.setdefault(name.upper(), set()).add(text.strip())
    return found


def _find(variable: Variable[Any], spellings: Mapping[str, set[str]], values: Values) -> str | None:
    """Return the text of a variable, from the environment or from its file."""
    texts = spellings.get(variable.name, set())
    files = spellings.get(variable.name + _TWIN, set())
    if texts or files:
        values.given.add(variable.name)
    several = "is set more than once, in different case, to different values"
    if texts and files:
        values.report(variable, f"is set, and {variable.name + _TWIN} as well: unset one of them")
    elif len(texts) > 1:
        values.report(variable, several)
    elif len(files) > 1:
        _report_file(variable, several, values)
    elif files:
        return _read_file(variable, files.pop(), values)
    elif texts:
        return texts.pop()
    return None


def _report_file(variable: Variable[Any], wrong: str, values: Values) -> None:
    name = variable.name + _TWIN
    values.problems.append(Problem(name, wrong, f"/run/secrets/{variable.name.lower()}"))


def _read_file(variable: Variable[Any], name: str, values: Values) -> str | None:
    """Read the file of the twin. No message repeats its path: that may be a misplaced secret."""
    try:
        # Only a regular file: opening a pipe would wait for a writer, perhaps for ever.
        if not Path(name).is_file():
            raise FileNotFoundError(0, "no such file")
        with Path(name).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        _report_file(variable, f"names a file that cannot be read: {error.strerror}", values)
    except ValueError:
        _report_file(variable, "names a file that is not UTF-8 text", values)
    else:
        if len(content) > _MAX_FILE_BYTES:
            _report_file(variable, f"names a file of more than {_MAX_FILE_BYTES} bytes", values)
        elif not text:
            _report_file(variable, "names an empty file", values)
        else:
            return text
    return None


def _parse(variable: Variable[Any], text: str, values: Values) -> None:
    if text[0] == text[-1] and text[0] in "\"'":
        values.report(variable, "has quotation marks around its value: leave them out")
    elif _PLACEHOLDER.search(text):
        values.report(variable, "still holds the example's placeholder: fill in your own value")
    else:
        try:
            values.parsed[variable.name] = variable.parse(text)
        except ValueError as error:
            shown = f'"{text}"' if _SHOWN.fullmatch(text) and not variable.secret else "its value"
            values.report(variable, f"{shown} {error}")


def _default(variable: Variable[Any], values: Values) -> None:
    if variable.required:
        values.report(variable, "is not set")
    elif variable.default is not None:
        values.parsed[variable.name] = variable.parse(variable.default)


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    """Warn of names that are close to one of ours: they would be ignored silently."""
    ours = [variable.name for variable in VARIABLES]
    warnings = []
    for name in sorted(environ):
        bare = name.upper().removesuffix(_TWIN)
        if bare in ours or not re.fullmatch(r"[A-Za-z0-9_]{4,48}", name):
            continue
        close = difflib.get_close_matches(bare.replace("_", ""), ours, n=1, cutoff=_SIMILAR)
        # A typing error is seldom in the first letter. This keeps out names of other programs: a
        # CONTAINER_NAME is close to BLOBCONTAINERNAME.
        if close and close[0][0] == bare[0]:
            warnings.append(f"{name} is not a variable of this program; do you mean {close[0]}?")
    return warnings
