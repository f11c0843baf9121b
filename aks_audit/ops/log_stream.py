"""Where the log lines go: a stream, and the queue in front of it while the forwarder runs.

Whoever reads the stream may stop reading, for example a log collector that is stuck. Then a write
to the pipe blocks. On trio's thread it would block the loop, and with it forwarding and the probes;
on the SDK's thread it would block the receiver. So while `LogStream.run` runs, a line is only put
into a bounded queue, and one worker thread writes. Lines that do not fit are lost and counted:
forwarding is more important than the log.

Before and after that, lines are written directly. Before it nothing is forwarded yet, so a stalled
stream may block the program. After it no line waits for long, so that the program can end.
"""

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TextIO

import trio

MAX_QUEUED_CHARS = 1 << 20
"""The room in the queue: some 4000 lines."""
LAST_LINES_S = 2.0
"""How long the program waits at its end for a stream that does not take the last lines."""


class LogStream:
    """Writes lines to a stream, in order. All threads may log.

    Args:
        tell_lost: Logs how many lines were lost. It is called where they are missing in the log.
    """

    def __init__(self, tell_lost: Callable[[int], object]) -> None:
        self.lost = 0
        """How many lines were not written, since the start."""
        self._tell_lost = tell_lost
        self._stream: TextIO = sys.stderr
        # Reentrant, because a finalizer may run at any line of Python, and may log.
        self._guard = threading.RLock()
        """Protects the fields; held for moments only."""
        self._turn = threading.RLock()
        """Held by the thread that writes, for as long as the stream lets it wait."""
        self._wake: Callable[[], object] | None = None
        """Wakes `run` when the queue gets its first line; None while lines are written directly."""
        self._queue: list[str] = []
        self._room = MAX_QUEUED_CHARS
        self._gap = 0
        """How many lines were lost behind the queue; no line is queued behind a gap."""
        self._under_way = 0
        """How many lines are being written now."""
        self._patience_s: float | None = None
        """How long a line may wait that is written directly; None is for ever."""

    def use(self, stream: TextIO) -> None:
        """Write to this stream from now on."""
        self._stream = stream

    def write(self, line: str) -> None:
        """Queue a line while `run` runs; else write it."""
        with self._guard:
            if self._wake is not None:
                self._put(line, self._wake)
                return
        self._write([line])

    def _put(self, line: str, wake: Callable[[], object]) -> None:
        if self._gap or (self._queue and len(line) > self._room):
            self._gap += 1
            self.lost += 1
            return
        self._queue.append(line)
        self._room -= len(line)
        if len(self._queue) == 1:
            wake()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Write what is queued until cancelled, and then what is left, for `LAST_LINES_S`."""
        # Of one: a write that was abandoned keeps its place until it ends, and so the order.
        limiter = trio.CapacityLimiter(1)
        filled = trio.Event()

        def fill() -> None:
            filled.set()

        async def write_queue() -> None:
            await trio.to_thread.run_sync(
                self._write_queue, abandon_on_cancel=True, limiter=limiter
            )

        self._start_queueing(partial(trio.lowlevel.current_trio_token().run_sync_soon, fill))
        task_status.started()
        try:
            while True:
                await filled.wait()
                filled = trio.Event()
                await write_queue()
        finally:
            with trio.move_on_after(LAST_LINES_S, shield=True) as last:
                await write_queue()  # once at least: it waits for the write that was abandoned
                while self._queue:
                    await write_queue()
            self._stop_queueing(stalled=last.cancelled_caught)

    def _start_queueing(self, wake: Callable[[], object]) -> None:
        with self._guard:
            self._wake, self._patience_s = wake, None

    def _stop_queueing(self, *, stalled: bool) -> None:
        """Write directly from now on, what is still queued first.

        Where the stream is stalled a worker thread still waits in it, with its lines. They are
        lost: the thread ends with the process.
        """
        patience_s = 0.0 if stalled else LAST_LINES_S
        turn = self._turn.acquire(timeout=patience_s)
        try:
            with self._guard:
                self._wake, self._patience_s = None, patience_s
                rest = self._take()
                if stalled:
                    self.lost += self._under_way
            self._write(rest)
        finally:
            if turn:
                self._turn.release()

    def _take(self) -> list[str]:
        taken, self._queue, self._room, self._gap = self._queue, [], MAX_QUEUED_CHARS, 0
        return taken

    def _write_queue(self) -> None:
        with self._guard:
            gap = self._gap
            taken = self._take()
            if gap:
                self._tell_lost(gap)  # the first line of the queue that is empty now
        if taken:
            self._write(taken)

    def _write(self, lines: Sequence[str]) -> None:
        """Write lines when it is this thread's turn; what the stream does not take is lost."""
        if not lines:
            return
        patience_s = self._patience_s
        deadline = None if patience_s is None else time.monotonic() + patience_s
        if not self._turn.acquire(timeout=-1 if patience_s is None else patience_s):
            self._lose(len(lines))
            return
        try:
            self._under_way = len(lines)
            left = _write(self._stream, "".join(f"{line}\n" for line in lines), deadline)
        finally:
            self._under_way = 0
            self._turn.release()
        if left:
            self._lose(left)

    def _lose(self, lines: int) -> None:
        with self._guard:
            self.lost += lines
            if self._patience_s is not None:
                self._patience_s = 0.0  # the program ends, and has waited once


def _write(stream: TextIO, text: str, deadline: float | None) -> int:
    """Write a text; return how many of its lines could not be written.

    A stream of the operating system is written past Python's buffer. A thread that waits in
    ``sys.stderr.write()`` holds the buffer's lock, and the interpreter wants that lock when it
    ends: with a stalled pipe Python 3.11 then never ends (measured).
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return _write_to_object(stream, text)
    data = text.encode(stream.encoding, "backslashreplace")
    return _write_to_descriptor(descriptor, data, deadline)


def _write_to_object(stream: TextIO, text: str) -> int:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # ValueError is what a closed stream raises
        return text.count("\n")
    return 0


def _write_to_descriptor(descriptor: int, data: bytes, deadline: float | None) -> int:
    """Write bytes until a deadline of time.monotonic(), or for as long as it takes."""
    left = memoryview(data)
    # A pipe that is writable takes so much without blocking.
    most = len(data) if deadline is None else select.PIPE_BUF
    with suppress(OSError):
        while left and _writable(descriptor, deadline):
            left = left[os.write(descriptor, left[:most]) :]
    return bytes(left).count(b"\n")


def _writable(descriptor: int, deadline: float | None) -> bool:
    """Wait until a write would not block, or fails."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    return bool(poll.poll(wait_ms))
