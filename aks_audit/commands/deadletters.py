"""What the commands on dead letters print."""

import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime

import click
import msgspec
import trio

from ..config.settings import Config
from ..deadletters import store as deadletter
from ..deadletters.store import DeadLetter, Store
from ..errors import Fatal
from ..storage import STORE_ERRORS, explain
from .replay import Filter, Tally, survey
from .replay import replay as send_again


def replay(
    config: Config,
    since: datetime | None,
    until: datetime | None,
    reasons: tuple[str, ...],
    *,
    dry_run: bool,
) -> int:
    """Send dead letters again; returns the exit status: 0 only when none is left. Raises Fatal."""
    wanted = Filter(since, until, frozenset(reasons))
    if dry_run:
        show(config, since, until, reasons, summary=True)
        return 0
    store = deadletter.open_store(config.dead_letters, config.hub)
    tally = Tally()
    try:
        interrupted = trio.run(_send_until_told, config, store, wanted, tally)
    finally:
        click.echo(
            f"{tally.accepted} of {tally.found} dead letters accepted and removed, "
            f"{tally.left} left ({tally.refused} refused again, "
            f"{tally.unreadable} that Falco would not take)"
        )
        _show_damaged(tally)
    if interrupted:
        unread = tally.segments - tally.segments_read
        click.echo(f"interrupted with {unread} segments unread: run it again", err=True)
    return 1 if interrupted or tally.left or tally.damaged_segments else 0


async def _send_until_told(config: Config, store: Store, wanted: Filter, tally: Tally) -> bool:
    """Send dead letters; returns whether a signal ended it. Raises Fatal."""
    fatal: Fatal | None = None
    interrupted = True
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_told, signals, nursery.cancel_scope)
            try:
                await send_again(config, store, wanted, tally, _Progress(tally).show)
            except Fatal as error:  # out of the nursery, which would wrap it into a group
                fatal = error
            interrupted = False
            nursery.cancel_scope.cancel()
    if fatal is not None:
        raise fatal
    return interrupted


async def _cancel_when_told(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return


def show(
    config: Config,
    since: datetime | None,
    until: datetime | None,
    reasons: tuple[str, ...],
    *,
    summary: bool,
) -> None:
    """List dead letters and sum them up. Raises Fatal."""
    store = deadletter.open_store(config.dead_letters, config.hub)
    tally, letters = survey(store, Filter(since, until, frozenset(reasons)))
    try:
        for letter in letters:
            if not summary:
                click.echo(msgspec.json.encode(_line(letter)))
    except STORE_ERRORS as error:
        raise Fatal(f"the dead letters cannot be read: {explain(error)}") from error
    click.echo(f"{tally.found} dead letters", err=not summary)
    for reason, count in tally.reasons.most_common():
        click.echo(f"  {count:8} {reason}", err=not summary)
    if tally.oldest is not None and tally.newest is not None:
        click.echo(
            f"from {tally.oldest.isoformat()} to {tally.newest.isoformat()}", err=not summary
        )
    _show_damaged(tally)


def _line(letter: DeadLetter) -> dict[str, object]:
    """All but the body, which is the event's content."""
    shown: dict[str, object] = msgspec.to_builtins(letter)
    shown["body"] = f"{len(letter.body)} bytes"
    return shown


class _Progress:
    """Tells how far it is: often on a terminal, seldom in a job's log."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._terminal = sys.stderr.isatty()
        self._every_s = 0.2 if self._terminal else 10.0
        self._told_at = time.monotonic()

    def show(self) -> None:
        """Tell it, if it is time to."""
        now = time.monotonic()
        if now - self._told_at < self._every_s:
            return
        self._told_at = now
        tally = self._tally
        text = (
            f"{tally.accepted} accepted, {tally.refused + tally.unreadable} left so far,"
            f" segment {tally.segments_read} of {tally.segments}"
        )
        click.echo(f"\r{text}" if self._terminal else text, nl=not self._terminal, err=True)


def _show_damaged(tally: Tally) -> None:
    for name in tally.damaged_segments:
        click.echo(f"damaged, left alone: {name}", err=True)
