"""The way into the dead letters, in virtual time, with a store that fails on demand."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.deadletters import letter as deadletter
from aks_audit.deadletters import writer as writer_module
from aks_audit.deadletters.letter import DeadLetter
from aks_audit.deadletters.writer import (
    BACKOFF_MAX_S,
    LINGER_S,
    LOGGED_MAX,
    SEGMENT_MAX_BYTES,
    SEGMENT_MAX_LETTERS,
    Writer,
)
from aks_audit.delivery.inflight import InFlight
from aks_audit.errors import Retryable
from aks_audit.model import START_OF_STREAM, Outcome, Position
from aks_audit.ops.metrics import Metrics
from tests.helpers import audit_event, capture, make_items


class FakeStore:
    """Keeps segments in memory; fails as often as it is told to, having written or not."""

    def __init__(self) -> None:
        self.writes: list[tuple[float, str]] = []
        self.segments: dict[str, list[DeadLetter]] = {}
        self.failures = 0
        self.writes_all_the_same = False

    def write(self, name: str, data: bytes) -> None:
        self.writes.append((trio.current_time(), name))
        fails, self.failures = self.failures > 0, self.failures - 1
        if not fails or self.writes_all_the_same:
            self.segments[name] = deadletter.decode(data)
        if fails:
            raise Retryable("No space left on device")

    def names(self) -> Iterable[str]:
        raise NotImplementedError

    def read(self, name: str) -> bytes | None:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError


class Letters:
    """Dead letters, their store, and what they settle."""

    def __init__(self) -> None:
        self.store, self.metrics = FakeStore(), Metrics()
        self.in_flight = InFlight(1024**3, self.metrics.outcomes)
        self.ledger = PartitionLedger("0", START_OF_STREAM)
        settle = partial(self.in_flight.settle, outcome=Outcome.DEAD_LETTERED)
        self.writer = Writer(self.store, settle, self.metrics.dead_letters)

    def give_up(self, count: int, *, padding: int = 0) -> None:
        raws = [audit_event(f"id-{n}", pad="x" * padding) for n in range(count)]
        items, _ = make_items(raws, self.ledger)
        self.in_flight.admit(items)
        for item in items:
            self.writer.put(item, "rejected", "HTTP 400", status=400, attempts=2)

    @property
    def sizes(self) -> list[int]:
        return [len(letters) for letters in self.store.segments.values()]


async def beside_the_writer(
    body: Callable[[Letters], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> Letters:
    """Run a body beside the writer."""

    async def call(__: object, function: Callable[..., Any], *args: Any, **_: float) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(writer_module, "call", call)

    letters = Letters()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(letters.writer.run)
        await trio.testing.wait_all_tasks_blocked()
        await body(letters)
        await letters.in_flight.drained()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return letters


async def test_a_burst_makes_one_segment(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def burst(letters: Letters) -> None:
        for _ in range(4):
            letters.give_up(10)
            await trio.sleep(LINGER_S / 5)

    letters = await beside_the_writer(burst, monkeypatch)
    assert letters.sizes == [40]
    assert letters.ledger.done == Position(39, "39")
    assert letters.metrics.outcomes.errors.value == 40
    assert letters.in_flight.bytes == 0


async def test_the_first_waits_no_longer_than_the_linger(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def one(letters: Letters) -> None:
        started = trio.current_time()
        letters.give_up(1)
        await letters.in_flight.drained()
        assert trio.current_time() - started == LINGER_S

    await beside_the_writer(one, monkeypatch)


async def test_segments_are_bounded_by_count_and_by_bytes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def many(letters: Letters) -> None:
        letters.give_up(2 * SEGMENT_MAX_LETTERS + 1)

    assert (await beside_the_writer(many, monkeypatch)).sizes == [
        SEGMENT_MAX_LETTERS,
        SEGMENT_MAX_LETTERS,
        1,
    ]

    async def heavy(letters: Letters) -> None:
        letters.give_up(5, padding=SEGMENT_MAX_BYTES // 2 - 1000)

    assert (await beside_the_writer(heavy, monkeypatch)).sizes == [2, 2, 1]

    async def giant(letters: Letters) -> None:
        letters.give_up(2, padding=2 * SEGMENT_MAX_BYTES)

    assert (await beside_the_writer(giant, monkeypatch)).sizes == [1, 1]


async def test_nothing_is_done_before_the_store_says_so(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(letters: Letters) -> None:
        letters.store.failures = 3
        letters.give_up(5)
        assert letters.writer.ready() is None
        await trio.sleep(LINGER_S + 0.1)
        wrong = letters.writer.ready()
        assert wrong == "dead letters cannot be written: No space left on device"
        assert letters.ledger.done == START_OF_STREAM
        assert letters.in_flight.events == 5
        assert letters.metrics.outcomes.errors.value == 0
        await letters.in_flight.drained()
        assert letters.writer.ready() is None

    letters = await beside_the_writer(failing, monkeypatch)
    assert letters.ledger.done == Position(4, "4")
    assert letters.sizes == [5]


async def test_a_retry_has_the_same_name(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """So that a write whose confirmation was lost makes no second segment."""

    async def failing(letters: Letters) -> None:
        letters.store.failures, letters.store.writes_all_the_same = 4, True
        letters.give_up(3)

    letters = await beside_the_writer(failing, monkeypatch)
    assert len(letters.store.writes) == 5
    assert len({name for _, name in letters.store.writes}) == 1
    assert letters.sizes == [3]


async def test_retries_back_off_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(letters: Letters) -> None:
        letters.store.failures = 9
        letters.give_up(1)

    times = [at for at, _ in (await beside_the_writer(failing, monkeypatch)).store.writes]
    gaps = [round(after - before, 6) for before, after in pairwise(times)]
    assert gaps == [1, 2, 4, 8, 16, *[BACKOFF_MAX_S] * 4]


async def test_what_comes_while_the_store_is_away_waits_its_turn(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(letters: Letters) -> None:
        letters.store.failures = 2
        letters.give_up(3)
        await trio.sleep(1)
        letters.give_up(4)
        assert letters.writer.heartbeat.overdue() is None

    letters = await beside_the_writer(failing, monkeypatch)
    assert letters.sizes == [3, 4]
    assert letters.ledger.done == Position(6, "6")


async def test_a_letter_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def one(letters: Letters) -> None:
        letters.give_up(1)

    ((letter,),) = (await beside_the_writer(one, monkeypatch)).store.segments.values()
    assert (letter.partition, letter.sequence_number, letter.offset) == ("0", 0, "0")
    assert (letter.reason, letter.status, letter.attempts) == ("rejected", 400, 2)
    assert (letter.kind, letter.audit_id, letter.stage) == (
        "audit-event",
        "id-0",
        "ResponseComplete",
    )
    assert letter.body == audit_event("id-0", pad="")


async def test_a_flood_is_logged_no_more_than_a_bit(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    lines = capture(monkeypatch, "aks_audit.deadletters.writer.log")

    async def flood(letters: Letters) -> None:
        letters.give_up(10 * LOGGED_MAX)

    letters = await beside_the_writer(flood, monkeypatch)
    events = [line["event"] for line in lines.entries]
    assert events.count("dead letter") == LOGGED_MAX
    (written,) = [line for line in lines.entries if line["event"] == "dead letters written"]
    assert written["count"] == 10 * LOGGED_MAX
    assert [written["segment"]] == list(letters.store.segments)
