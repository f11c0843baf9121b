"""``aks-audit-log deadletters``: list the dead letters, and sum them up."""

import click
import msgspec

from ..config.settings import Config
from ..deadletters.letter import DeadLetter
from ..deadletters.store import open_store
from ..errors import Fatal
from ..ops.escapes import json_line, printable
from ..storage import STORE_ERRORS, explain
from .segments import Selection, Tally, read_segments


def show(config: Config, wanted: Selection, *, summary: bool) -> None:
    """List dead letters and sum them up. Raises Fatal."""
    store = open_store(config.dead_letters, config.hub)
    tally = Tally()
    try:
        for _, segment in read_segments(store, tally):
            matching = list(filter(wanted, segment))
            tally.add(matching)
            for letter in () if summary else matching:
                click.echo(json_line(_line(letter)))
    except BrokenPipeError:
        raise  # whoever reads the list has enough; that is not a fault of the store
    except STORE_ERRORS as error:
        raise Fatal(f"the dead letters cannot be read: {explain(error)}") from error
    _sum_up(tally, err=not summary)


def _sum_up(tally: Tally, *, err: bool) -> None:
    """Show the numbers, on standard error where the list goes to standard output."""
    click.echo(f"{tally.found} dead letters", err=err)
    for reason, count in tally.reasons.most_common():
        click.echo(f"  {count:8} {printable(reason)}", err=err)
    if tally.oldest is not None and tally.newest is not None:
        click.echo(f"from {tally.oldest.isoformat()} to {tally.newest.isoformat()}", err=err)
    tally.show_damaged()


def _line(letter: DeadLetter) -> dict[str, object]:
    """All but the body, which is the event's content."""
    shown: dict[str, object] = msgspec.to_builtins(letter)
    shown["body"] = f"{len(letter.body)} bytes"
    return shown
