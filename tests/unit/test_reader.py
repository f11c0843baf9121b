"""The reading of one partition, against a link that fails as the test says."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from azure.eventhub import EventData

from aks_audit.hub import reader as module
from aks_audit.hub.credit import CreditPool
from aks_audit.hub.reader import RETRIES_MAX, Reader
from aks_audit.hub.sdk.link import PartitionLink


class StolenError(Exception):
    """Another reader has the partition."""


class PublicError(Exception):
    """What the SDK raises to its user."""


class Link:
    """A link that does what a script says: each step is an exception to raise, or an event."""

    def __init__(
        self, *steps: Exception | str, openings: tuple[Exception | None, ...] = ()
    ) -> None:
        self.partition = "0"
        self.is_open = False
        self.credit = 0
        self.called: list[list[str]] = []
        self.granted: list[int] = []
        self.kept_alive = 0
        self._steps = list(steps)
        self._openings = list(openings)
        self._events: list[EventData] = []

    async def open(self) -> None:
        fault = self._openings.pop(0) if self._openings else None
        if fault is not None:
            raise fault
        self.is_open, self.credit = True, 0

    async def ready(self) -> bool:
        return True

    async def grant(self, credit: int) -> None:
        self.granted.append(credit)
        self.credit = credit

    async def listen(self, wait_s: float) -> None:
        if not self._steps:
            await asyncio.sleep(wait_s)
            return
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        self._events.append(EventData(step))
        self.credit -= 1

    def has_frame(self) -> bool:
        return bool(self._steps)

    def take(self) -> list[EventData]:
        events, self._events = self._events, []
        return events

    async def call_back(self, events: list[EventData]) -> None:
        self.called.append([event.body_as_str() for event in events])

    async def keep_alive(self) -> None:
        self.kept_alive += 1

    def is_final(self, error: Exception) -> bool:
        return isinstance(error, StolenError | ImportError)

    async def shut(self, error: Exception) -> Exception:
        self.is_open = False
        return PublicError(str(error))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENING_PAUSE_S", "EMPTY_CALLBACK_S", "KEEP_ALIVE_S"):
        monkeypatch.setattr(module, name, 0.01)


Seen = list[str | None]


def read(link: Link, until: Callable[[], bool], pool: CreditPool | None = None) -> Seen:
    """Read until a condition holds; returns what the observer was told. Raises what it raises."""
    seen: Seen = []

    def observe(_partition: str, error: Exception | None) -> None:
        seen.append(None if error is None else str(error))

    async def main() -> None:
        reader = Reader(
            cast("PartitionLink", link), pool or CreditPool(10**7), 100, cast("Any", observe)
        )
        running = asyncio.create_task(reader.run())
        async with asyncio.timeout(30):
            while not until() and not running.done():
                await asyncio.wait({running}, timeout=0.001)
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    asyncio.run(main())
    return seen


def events_of(link: Link) -> list[str]:
    return [event for batch in link.called for event in batch]


def test_events_are_handed_over_and_credit_is_given_for_more() -> None:
    link = Link("a", "b", "c")
    assert read(link, lambda: len(events_of(link)) == 3) == [None]
    assert events_of(link) == ["a", "b", "c"]
    assert link.granted[0] == 1


def test_without_events_it_calls_back() -> None:
    link = Link()
    read(link, lambda: len(link.called) > 2)
    assert events_of(link) == []


def test_a_batch_ends_where_its_bytes_do() -> None:
    link = Link(*["x" * 60] * 4)
    read(link, lambda: len(events_of(link)) == 4)
    assert [len(batch) for batch in link.called if batch] == [2, 2]


def test_an_opening_that_fails_is_told_and_tried_again() -> None:
    link = Link("a", openings=(OSError("no"), OSError("not yet")))
    assert read(link, lambda: bool(events_of(link))) == ["no", "not yet", None]
    assert link.called[:2] == [[], []]


def test_an_opening_that_hangs_shows_signs_of_life_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OPENING_S", 0.1)
    link = Link()

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(link, "open", hang)
    seen: list[str | None] = []
    seen += read(link, lambda: len(link.called) > 30)
    assert "not open within 0.1 s" in seen


def test_what_came_before_a_fault_is_handed_over_first() -> None:
    link = Link("a", OSError("cut"), "b")
    read(link, lambda: len(events_of(link)) == 2)
    assert events_of(link) == ["a", "b"]


def test_a_stolen_partition_is_given_up_at_once() -> None:
    link = Link(StolenError("taken"))
    with pytest.raises(PublicError, match="taken"):
        read(link, lambda: False)


def test_a_partition_that_is_stolen_at_its_opening_is_given_up() -> None:
    link = Link(openings=(StolenError("taken"),))
    with pytest.raises(PublicError, match="taken"):
        read(link, lambda: False)


def test_a_missing_package_is_not_tried_again() -> None:
    with pytest.raises(ImportError):
        read(Link(openings=(ImportError("aiohttp"),)), lambda: False)


def test_a_link_that_fails_again_and_again_is_given_up() -> None:
    link = Link(*[OSError("cut")] * (RETRIES_MAX + 1))
    with pytest.raises(PublicError, match="cut"):
        read(link, lambda: False)


def test_an_event_shows_that_the_link_is_well_again() -> None:
    faults: list[Exception | str] = [OSError("cut")] * RETRIES_MAX
    link = Link(*faults, "a", *faults, "b")
    read(link, lambda: len(events_of(link)) == 2)


def test_while_a_callback_waits_the_connection_is_kept_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Link("a")

    async def wait(_events: list[EventData]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(link, "call_back", wait)
    read(link, lambda: link.kept_alive > 2)


def test_what_a_callback_raises_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    link, pool = Link("a"), CreditPool(10**7)

    async def fail(_events: list[EventData]) -> None:
        raise PublicError("cut off")

    monkeypatch.setattr(link, "call_back", fail)
    with pytest.raises(PublicError, match="cut off"):
        read(link, lambda: False, pool)
    assert (pool.members, pool.reserved_bytes) == (0, 0)


def test_a_reading_that_is_cancelled_leaves_nothing_reserved() -> None:
    link, pool = Link("a", "b"), CreditPool(10**7)
    read(link, lambda: len(events_of(link)) == 2, pool)
    assert (pool.members, pool.reserved_bytes) == (0, 0)
