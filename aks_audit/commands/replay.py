"""``aks-audit-log replay``: send dead letters again, and say how it went."""

import signal
import sys
import time
from collections.abc import AsyncIterator

import click
import trio

from ..config.settings import Config
from ..deadletters.store import Store, open_store
from ..errors import Fatal
from .deadletters import show
from .resend import Resent, resend
from .segments import Selection


def replay(config: Config, wanted: Selection, *, dry_run: bool) -> int:
    """Send dead letters again; returns the exit status: 0 only when none is left. Raises Fatal."""
    if dry_run:
        show(config, wanted, summary=True)
        return 0
    store = open_store(config.dead_letters, config.hub)
    tally = Resent()
    try:
        interrupted = trio.run(_resend_until_told, config, store, wanted, tally)
    finally:
        click.echo(
            f"{tally.accepted} of {tally.found} dead letters accepted and removed, "
            f"{tally.left} left ({tally.refused} refused again, "
            f"{tally.unreadable} that Falco would not take)"
        )
        tally.show_damaged()
    if interrupted:
        unread = tally.segments - tally.segments_read
        click.echo(f"interrupted with {unread} segments unread: run it again", err=True)
    return 1 if interrupted or tally.left or tally.damaged_segments else 0


async def _resend_until_told(
    config: Config, store: Store, wanted: Selection, tally: Resent
) -> bool:
    """Send dead letters; returns whether a signal ended it. Raises Fatal."""
    fatal: Fatal | None = None
    interrupted = True
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_told, signals, nursery.cancel_scope)
            try:
                await resend(config, store, wanted, tally, _Progress(tally).show)
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


class _Progress:
    """Shows how far it is: often on a terminal, seldom in a job's log."""

    def __init__(self, tally: Resent) -> None:
        self._tally = tally
        self._terminal = sys.stderr.isatty()
        self._every_s = 0.2 if self._terminal else 10.0
        self._shown_at = time.monotonic()

    def show(self) -> None:
        """Show it, if it is time to."""
        now = time.monotonic()
        if now - self._shown_at < self._every_s:
            return
        self._shown_at = now
        tally = self._tally
        text = (
            f"{tally.accepted} accepted, {tally.refused + tally.unreadable} left so far,"
            f" segment {tally.segments_read} of {tally.segments}"
        )
        click.echo(f"\r{text}" if self._terminal else text, nl=not self._terminal, err=True)
