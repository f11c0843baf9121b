"""What is wrong with several variables together, although each value by itself is right.

For example two variables that contradict each other, or none of two where one has to be set.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import variables
from .authorities import wrong_with
from .environment import Values
from .variables import Problem, Variable


def contradictions(values: Values) -> Iterator[Problem]:
    """Yield the problems; a variable that is wrong by itself is not compared with others."""
    yield from _hub_names(values)
    yield from _checkpoint_stores(values)
    yield from _sizes(values)
    yield from _levels(values)


def ca_file_problem(ca_file: Path | None) -> Iterator[Problem]:
    """Yield a problem if SSL_CERT_FILE names something else than certificate authorities."""
    wrong = None if ca_file is None else wrong_with(ca_file)
    if wrong is not None:
        yield Problem("SSL_CERT_FILE", wrong, "/etc/ssl/certs/ca-certificates.crt")


def _problem(variable: Variable[Any], wrong: str) -> Problem:
    return Problem(variable.name, wrong, variable.example)


def _hub_names(values: Values) -> Iterator[Problem]:
    """Two variables may name the event hub, but only the same one; Event Hubs ignores case."""
    address, name = values.find(variables.EHUB), values.find(variables.EVENT_HUB_NAME)
    given = variables.EVENT_HUB_NAME.name in values.given
    other = address.entity_path if address is not None else None
    if given and name and other and name.lower() != other.lower():
        yield _problem(
            variables.EVENT_HUB_NAME,
            f"differs from the EntityPath in {variables.EHUB.name}: leave one out",
        )


def _checkpoint_stores(values: Values) -> Iterator[Problem]:
    blob, file = variables.BLOB_STORAGE, variables.CHECKPOINT_FILE
    if {blob.name, file.name} <= values.given:
        yield _problem(file, f"is set, and {blob.name} as well: unset one of them")
    elif not {blob.name, file.name} & values.given:
        yield _problem(blob, f"is not set (set {file.name} instead for a local run)")


def _sizes(values: Values) -> Iterator[Problem]:
    batch = values.find(variables.POST_BATCH_BYTES)
    if batch is None:
        return
    inflight = values.find(variables.INFLIGHT_BYTES)
    if inflight is not None and batch > inflight:
        yield _problem(
            variables.POST_BATCH_BYTES, f"is larger than {variables.INFLIGHT_BYTES.name}"
        )
    # Its default follows a smaller POSTBATCHMAXBYTES.
    event, given = variables.MAX_EVENT_BYTES, variables.MAX_EVENT_BYTES.name in values.given
    if given and (values.find(event) or 0) > batch:
        yield _problem(event, f"is larger than {variables.POST_BATCH_BYTES.name}")


def _levels(values: Values) -> Iterator[Problem]:
    level, verbose = values.find(variables.LOG_LEVEL), values.find(variables.VERBOSE_LEVEL)
    given = variables.LOG_LEVEL.name in values.given
    if given and level and verbose and level != verbose:
        yield _problem(
            variables.VERBOSE_LEVEL,
            f"means another level than {variables.LOG_LEVEL.name}: unset one of them",
        )
