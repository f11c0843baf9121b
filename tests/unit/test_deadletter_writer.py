"""The way into the dead letters, in virtual time, with a store that fails on demand."""

from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.deadletters import store as deadletter
from aks_audit.deadletters import writer as undeliverable
from aks_audit.deadletters.store import DeadLetter
from aks_audit.deadletters.writer import (
    BACKOFF_MAX_S,
    LINGER_S,
    LOGGED_MAX,
    SEGMENT_MAX_BYTES,
    SEGMENT_MAX_LETTERS,
    Undeliverable,
)
from aks_audit.delivery.channel import Channel
from aks_audit.errors import Retryable
from aks_audit.model import START_OF_STREAM, Position
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


class Grave:
    """Dead letters, their store, and what they settle."""

    def __init__(self) -> None:
        self.store, self.channel, self.metrics = FakeStore(), Channel(1024**3), Metrics()
        self.ledger = PartitionLedger("0", START_OF_STREAM)
        self.undeliverable = Undeliverable(self.store, self.channel, self.metrics)

    def bury(self, count: int, *, padding: int = 0) -> None:
        raws = [audit_event(f"id-{n}", pad="x" * padding) for n in range(count)]
        items, _ = make_items(raws, self.ledger)
        self.channel.admit(items)
        for item in items:
            self.undeliverable.put(item, "rejected", "HTTP 400", status=400, attempts=2)

    @property
    def sizes(self) -> list[int]:
        return [len(letters) for letters in self.store.segments.values()]


async def digging(
    body: Callable[[Grave], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> Grave:
    """Run a body beside the writer."""

    async def call(_: object, function: Callable[..., Any], *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(undeliverable, "call", call)

    grave = Grave()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(grave.undeliverable.run)
        await trio.testing.wait_all_tasks_blocked()
        await body(grave)
        await grave.channel.drained()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return grave


async def test_a_burst_makes_one_segment(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def burst(grave: Grave) -> None:
        for _ in range(4):
            grave.bury(10)
            await trio.sleep(LINGER_S / 5)

    grave = await digging(burst, monkeypatch)
    assert grave.sizes == [40]
    assert grave.ledger.done == Position(39, "39")
    assert grave.metrics.outcomes.errors.value == 40
    assert grave.channel.bytes_in_flight == 0


async def test_the_first_waits_no_longer_than_the_linger(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def one(grave: Grave) -> None:
        started = trio.current_time()
        grave.bury(1)
        await grave.channel.drained()
        assert trio.current_time() - started == LINGER_S

    await digging(one, monkeypatch)


async def test_segments_are_bounded_by_count_and_by_bytes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def many(grave: Grave) -> None:
        grave.bury(2 * SEGMENT_MAX_LETTERS + 1)

    assert (await digging(many, monkeypatch)).sizes == [SEGMENT_MAX_LETTERS, SEGMENT_MAX_LETTERS, 1]

    async def heavy(grave: Grave) -> None:
        grave.bury(5, padding=SEGMENT_MAX_BYTES // 2 - 1000)

    assert (await digging(heavy, monkeypatch)).sizes == [2, 2, 1]

    async def giant(grave: Grave) -> None:
        grave.bury(2, padding=2 * SEGMENT_MAX_BYTES)

    assert (await digging(giant, monkeypatch)).sizes == [1, 1]


async def test_nothing_is_done_before_the_store_says_so(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(grave: Grave) -> None:
        grave.store.failures = 3
        grave.bury(5)
        assert grave.undeliverable.ready() is None
        await trio.sleep(LINGER_S + 0.1)
        wrong = grave.undeliverable.ready()
        assert wrong == "dead letters cannot be written: No space left on device"
        assert grave.ledger.done == START_OF_STREAM
        assert grave.channel.events_in_flight == 5
        assert grave.metrics.outcomes.errors.value == 0
        await grave.channel.drained()
        assert grave.undeliverable.ready() is None

    grave = await digging(failing, monkeypatch)
    assert grave.ledger.done == Position(4, "4")
    assert grave.sizes == [5]


async def test_a_retry_has_the_same_name(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """So that a write whose confirmation was lost makes no second segment."""

    async def failing(grave: Grave) -> None:
        grave.store.failures, grave.store.writes_all_the_same = 4, True
        grave.bury(3)

    grave = await digging(failing, monkeypatch)
    assert len(grave.store.writes) == 5
    assert len({name for _, name in grave.store.writes}) == 1
    assert grave.sizes == [3]


async def test_retries_back_off_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(grave: Grave) -> None:
        grave.store.failures = 9
        grave.bury(1)

    times = [at for at, _ in (await digging(failing, monkeypatch)).store.writes]
    gaps = [round(after - before, 6) for before, after in pairwise(times)]
    assert gaps == [1, 2, 4, 8, 16, *[BACKOFF_MAX_S] * 4]


async def test_what_comes_while_the_store_is_away_waits_its_turn(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def failing(grave: Grave) -> None:
        grave.store.failures = 2
        grave.bury(3)
        await trio.sleep(1)
        grave.bury(4)
        assert grave.undeliverable.heartbeat.overdue() is None

    grave = await digging(failing, monkeypatch)
    assert grave.sizes == [3, 4]
    assert grave.ledger.done == Position(6, "6")


async def test_a_letter_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def one(grave: Grave) -> None:
        grave.bury(1)

    ((letter,),) = (await digging(one, monkeypatch)).store.segments.values()
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

    async def flood(grave: Grave) -> None:
        grave.bury(10 * LOGGED_MAX)

    grave = await digging(flood, monkeypatch)
    events = [line["event"] for line in lines.entries]
    assert events.count("dead letter") == LOGGED_MAX
    (written,) = [line for line in lines.entries if line["event"] == "dead letters written"]
    assert written["count"] == 10 * LOGGED_MAX
    assert [written["segment"]] == list(grave.store.segments)
