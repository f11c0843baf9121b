"""The way into the thread of a trio loop from any other thread."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class LoopThread:
    """The thread of a running trio loop: runs functions there on behalf of any thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def run_soon(self, function: Callable[[], None]) -> None:
        """Call a function in the loop's thread: at once if this is it, otherwise without waiting.

        Several calls that wait for the loop may become one. A loop that has ended does nothing.
        """
        if threading.get_ident() == self._thread:
            function()
        else:
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(function, idempotent=True)

    def run(self, function: Callable[[], T]) -> T:
        """Call a function in the loop's thread, wait for it, return what it returns.

        Raises trio.RunFinishedError if the loop has ended.
        """
        if threading.get_ident() == self._thread:
            return function()
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                outcome.set_result(function())
            except Exception as error:  # noqa: BLE001 - it is the caller's, and goes to the caller
                outcome.set_exception(error)

        self._token.run_sync_soon(call)
        return outcome.result()
