import io
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TextIO

import pytest
import trio
import trio.testing

from aks_audit.ops import log_stream
from aks_audit.ops.log_stream import LogStream

DEADLINE_S = 30.0
"""Only reached by a test that fails."""


class Stalled(io.StringIO):
    """Takes nothing while nobody reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.reading = False
        self.waiting = False

    def write(self, text: str) -> int:
        with self.changed:
            self.waiting = True
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.reading, DEADLINE_S)
            self.waiting = False
            written = super().write(text)
            self.changed.notify_all()
            return written

    def be_read(self, *, reading: bool = True) -> None:
        with self.changed:
            self.reading = reading
            self.changed.notify_all()

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        def wait() -> bool:
            with self.changed:
                return self.changed.wait_for(predicate, DEADLINE_S)

        assert await trio.to_thread.run_sync(wait)

    async def wait_for_writer(self) -> None:
        await self.wait_until(lambda: self.waiting)


def make_log(stream: TextIO) -> LogStream:
    log = LogStream(lambda lines: log.write(f"lost {lines}"))
    log.use(stream)
    return log


async def queueing(log: LogStream, body: Callable[[], Awaitable[None]]) -> None:
    """Run a body while the lines are queued; they are written when this returns."""
    async with trio.open_nursery() as nursery:
        await nursery.start(run, log)
        await body()
        nursery.cancel_scope.cancel()


async def run(log: LogStream, *, task_status: trio.TaskStatus[None]) -> None:
    await log.run(task_status)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


async def test_the_lines_of_each_thread_stay_in_order() -> None:
    stream = io.StringIO()
    log = make_log(stream)
    names = [f"thread {number}" for number in range(4)]

    def write_all(name: str) -> None:
        for number in range(500):
            log.write(f"{name}: {number}")

    async def body() -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(trio.to_thread.run_sync, write_all, name)
            for number in range(500):
                log.write(f"trio: {number}")
                await trio.lowlevel.checkpoint()

    await queueing(log, body)
    for name in (*names, "trio"):
        of_one = [line for line in lines(stream) if line.startswith(name)]
        assert of_one == [f"{name}: {number}" for number in range(500)]
    assert log.lost == 0


async def test_while_the_stream_is_stalled_lines_are_lost_and_the_log_says_so_in_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_stream, "MAX_QUEUED_CHARS", 10)
    stream = Stalled()
    log = make_log(stream)

    async def body() -> None:
        log.write("being written")  # longer than the queue, which is empty
        await stream.wait_for_writer()
        for line in ("queued 1", "lost 1", "2"):  # nothing is queued behind a gap
            log.write(line)
        assert log.lost == 2
        stream.be_read()
        await stream.wait_until(lambda: "lost 2" in lines(stream))
        log.write("queued 2")

    await queueing(log, body)
    assert lines(stream) == ["being written", "queued 1", "lost 2", "queued 2"]
    assert log.lost == 2


async def test_after_a_gap_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "MAX_QUEUED_CHARS", 10)
    stream = Stalled()
    log = make_log(stream)

    def told(times: int) -> bool:
        return lines(stream).count("lost 1") == times

    async def body() -> None:
        for gap in range(1, 4):
            log.write(f"written {gap}")
            await stream.wait_for_writer()
            log.write("queued")
            log.write("does not fit")
            stream.be_read()
            await stream.wait_until(partial(told, gap))
            stream.be_read(reading=False)
        stream.be_read()

    await queueing(log, body)
    assert lines(stream) == [
        line for gap in range(1, 4) for line in (f"written {gap}", "queued", "lost 1")
    ]


async def test_what_is_logged_while_everything_ends_is_written() -> None:
    stream = io.StringIO()
    log = make_log(stream)

    async def log_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.write("ends")

    async with trio.open_nursery() as nursery:
        await nursery.start(run, log)
        for _ in range(20):
            nursery.start_soon(log_at_the_end)
        await trio.testing.wait_all_tasks_blocked()
        log.write("stopped")
        nursery.cancel_scope.cancel()

    log.write("after it")
    assert lines(stream) == ["stopped", *["ends"] * 20, "after it"]


async def test_a_stalled_stream_holds_up_the_end_only_for_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_stream, "LAST_LINES_S", 0.01)
    stream = Stalled()
    log = make_log(stream)

    async def body() -> None:
        log.write("being written")
        await stream.wait_for_writer()
        log.write("queued")

    await queueing(log, body)
    assert log._patience_s == 0, "it has waited once"
    log.write("after it")
    assert log.lost == 3, "the line that is being written as well: its thread ends with the process"
    stream.be_read()
    await stream.wait_until(lambda: lines(stream) == ["being written"])


@pytest.mark.parametrize("more", [0, 3])
async def test_a_slow_reader_gets_the_last_lines(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes while a worker thread waits in the stream, with lines that left the queue."""
    monkeypatch.setattr(log_stream, "LAST_LINES_S", DEADLINE_S)
    stream = Stalled()
    log = make_log(stream)
    written = ["being written", *(f"queued {number}" for number in range(more))]

    async def read_later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        stream.be_read()

    async with trio.open_nursery() as reading:
        async with trio.open_nursery() as nursery:
            await nursery.start(run, log)
            log.write(written[0])
            await stream.wait_for_writer()
            for line in written[1:]:
                log.write(line)
            reading.start_soon(read_later)
            nursery.cancel_scope.cancel()
        assert lines(stream) == written
    assert log.lost == 0


def test_a_finalizer_that_logs_while_a_line_is_written_does_not_block() -> None:
    class Finalized(io.StringIO):
        def write(self, text: str) -> int:
            written = super().write(text)
            if text == "outer\n":
                log.write("inner")
            return written

    stream = Finalized()
    log = make_log(stream)
    log.write("outer")
    assert lines(stream) == ["outer", "inner"]


class Pipe:
    """A real one, whose write end is the log's stream."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w", encoding="utf-8")

    def fill(self) -> None:
        """Fill it, so that nothing more fits."""
        os.set_blocking(self.stream.fileno(), False)
        try:
            while True:
                os.write(self.stream.fileno(), b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(self.stream.fileno(), True)

    def read_all(self) -> bytes:
        """Read until the write end is closed."""
        return b"".join(iter(lambda: os.read(self.reader, 65536), b""))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.stream.close()
    os.close(pipe.reader)


async def nothing() -> None:
    pass


@pytest.mark.parametrize("line", ["short", "x" * 200_000])
async def test_after_the_end_a_full_pipe_does_not_block(
    pipe: Pipe, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "LAST_LINES_S", 0.01)
    log = make_log(pipe.stream)
    await queueing(log, nothing)
    if line == "short":
        pipe.fill()
    log.write(line)
    assert log._patience_s == 0, "it has waited once"
    log.write("one more")
    assert log.lost == 2


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_slow_reader_gets_everything(pipe: Pipe, *, blocking: bool) -> None:
    os.set_blocking(pipe.stream.fileno(), blocking)
    log = make_log(pipe.stream)
    written = [f"{number}: {'x' * 5000}" for number in range(100)]
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_all()))

    async def body() -> None:
        for line in written:
            log.write(line)
        reader.start()

    await queueing(log, body)
    pipe.stream.close()
    await trio.to_thread.run_sync(reader.join)
    assert found[0].decode().splitlines() == written
    assert log.lost == 0


async def test_a_pipe_without_a_reader_loses_lines_and_nothing_else(pipe: Pipe) -> None:
    log = make_log(pipe.stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reader)

    async def body() -> None:
        log.write("queued")

    log.write("before")
    await queueing(log, body)
    log.write("after it")
    assert log.lost == 3
