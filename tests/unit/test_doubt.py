"""What is in doubt, when its doubt ends, and what is posted again; in virtual time."""

from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.delivery import sender
from aks_audit.delivery.destination import open_destination
from aks_audit.delivery.doubt import ALONE_FIRST, CRASHES, EVENTS_PER_S, Doubt, window
from aks_audit.delivery.inflight import InFlight
from aks_audit.delivery.sender import run_pool
from aks_audit.errors import Broken, Retryable, Silent
from aks_audit.model import Item
from aks_audit.ops.metrics import Metrics
from tests.helpers import (
    ScriptedWebhook,
    Setup,
    make_destination,
    make_items,
    outcomes,
    sink_config,
)

QUIET_S = 2.0
DOUBT = {"indoubt_bodies": 3, "indoubt_s": QUIET_S}
Events = Sequence[dict[str, Any]]


@dataclass
class Case:
    """A doubt, and events to put into it."""

    doubt: Doubt
    setup: Setup
    items: list[Item]
    ledger: PartitionLedger

    def accept(self, *numbers: int) -> None:
        """Have a body of these events accepted."""
        body = self.doubt.fresh([self.items[number] for number in numbers])
        self.doubt.accept(body, self.doubt.mark())

    def again(self) -> list[list[int]]:
        """Take what is to be posted again."""
        found = []
        while (body := self.doubt.take()) is not None:
            found.append([self.items.index(item) for item in body.items])
        return found


def case(count: int, **changes: Any) -> Case:
    setup = make_destination(sink_config(**(DOUBT | {"concurrency": 1} | changes)))
    items, ledger = make_items(count)
    setup.in_flight.admit(items)
    return Case(setup.destination.doubt, setup, items, ledger)


async def test_later_bodies_end_the_doubt() -> None:
    known = case(10)
    in_doubt = 3 + 1  # and the one that a Falco which ends may have answered and dropped
    for number in range(10):
        known.accept(number)
        assert known.ledger.done.sequence_number == number - in_doubt if number >= in_doubt else -1
        assert known.doubt.events == min(number + 1, in_doubt)


@pytest.mark.parametrize(("concurrency", "bodies"), [(1, 52), (4, 58), (64, 178)])
def test_each_sender_may_have_overtaken_and_been_answered_in_vain(
    concurrency: int, bodies: int
) -> None:
    assert window(sink_config(indoubt_bodies=51, indoubt_s=1, concurrency=concurrency)) == bodies


@pytest.mark.parametrize("off", [{"indoubt_bodies": 0}, {"indoubt_s": 0}])
async def test_it_can_be_turned_off(off: dict[str, float]) -> None:
    known = case(1, **off)
    known.accept(0)
    assert known.ledger.done.sequence_number == 0
    known.doubt.broke(known.doubt.mark(), "gone")
    assert known.again() == []


async def test_a_quiet_time_ends_the_doubt(autojump_clock: MockClock) -> None:
    known = case(300)
    known.accept(*range(300))
    due = trio.current_time() + QUIET_S + 300 / EVENTS_PER_S
    assert known.doubt.release_due() == due
    await trio.sleep_until(due - 0.001)
    known.doubt.release_due()
    assert known.ledger.done.sequence_number == -1
    await trio.sleep_until(due)
    known.doubt.release_due()
    assert known.ledger.done.sequence_number == 299
    assert known.setup.in_flight.events == 0


async def test_what_is_in_doubt_is_posted_again_in_order() -> None:
    known = case(5)
    for number in range(3):
        known.accept(number)
    known.doubt.broke(known.doubt.mark(), "gone")
    assert known.doubt.events == 0
    assert known.setup.in_flight.events == 5
    new = known.doubt.fresh(known.items[3:])
    assert known.doubt.overtakes(new)
    assert known.again() == [[0], [1], [2]]
    assert not known.doubt.overtakes(new)


async def test_a_second_break_puts_what_was_posted_again_before_the_rest() -> None:
    known = case(4)
    for number in range(4):
        known.accept(number)
    known.doubt.broke(known.doubt.mark(), "gone")
    for _ in range(2):
        body = known.doubt.take()
        assert body is not None
        known.doubt.accept(body, known.doubt.mark())
    known.doubt.broke(known.doubt.mark(), "gone")
    taken = []
    while (body := known.doubt.take()) is not None:  # they go one by one now
        taken += [known.items.index(item) for item in body.items]
        known.doubt.put_down(body)
    assert taken == [0, 1, 2, 3]


async def test_a_break_is_noted_once() -> None:
    """Each connection tells of it, one after the other."""
    known = case(2)
    mark = known.doubt.mark()
    known.accept(0)
    known.doubt.broke(mark, "gone")
    assert known.again() == [[0]]
    known.accept(1)
    known.doubt.broke(mark, "gone")
    assert known.again() == []


async def test_a_body_whose_post_began_before_the_break_goes_again() -> None:
    known = case(1)
    mark = known.doubt.mark()
    known.doubt.broke(mark, "gone")
    known.doubt.accept(known.doubt.fresh(known.items), mark)
    assert known.again() == [[0]]


async def test_silence_is_a_break_only_if_nobody_else_was_answered() -> None:
    known = case(3)
    known.accept(0)
    mark = known.doubt.mark()
    known.accept(1)
    known.doubt.silent(mark, "slow")
    assert known.again() == []
    known.doubt.silent(known.doubt.mark(), "gone")
    assert known.again() == [[0], [1]]


def test_what_is_in_doubt_has_a_share_of_what_may_be_in_flight() -> None:
    metrics = Metrics()
    config = sink_config(indoubt_bodies=51, indoubt_s=1, concurrency=4, batch_max_events=10_000)
    in_flight = InFlight(1 << 20, metrics.outcomes)
    destination = open_destination("x", config, in_flight, None, metrics)  # type: ignore[arg-type]
    assert destination.channel._max_bytes < (1 << 20) * 3 / 4 / 58
    assert destination.channel._max_events == 65_536 * 3 // 4 // 58


class Endpoint:
    """A Falco in virtual time, which breaks when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        self.answers: list[Callable[[Events], None]] = []
        self.setup = make_destination(sink_config(**(DOUBT | {"retry_delay_s": 1.0} | changes)))
        self.items, self.ledger = make_items(1000)
        self.posts: list[tuple[float, list[str]]] = []
        self.life = 0
        monkeypatch.setattr(sender, "open_webhook", self._open)

    @asynccontextmanager
    async def _open(self, *_: object) -> Any:
        yield Connection(self)

    async def deliver(self, events: int) -> None:
        """Run the senders until the first events are done."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pool, self.setup.destination)
            self.setup.channel.put(self.items[:events])
            await self.setup.in_flight.drained()
            nursery.cancel_scope.cancel()

    @property
    def ids(self) -> list[list[str]]:
        return [ids for _, ids in self.posts]

    @property
    def times(self) -> list[float]:
        return [round(at - self.posts[0][0], 6) for at, _ in self.posts]


class Connection(ScriptedWebhook):
    """A connection to one life of the endpoint; a new one is opened without a word."""

    def __init__(self, falco: Endpoint) -> None:
        super().__init__(self._take)
        self.posts = falco.posts
        self._falco = falco
        self._life: int | None = None

    async def _take(self, events: Events) -> None:
        falco = self._falco
        life, self._life = falco.life, None
        await trio.lowlevel.checkpoint()
        if life != falco.life:
            raise Broken("reset")
        for answer in falco.answers:
            answer(events)
        self._life = life

    def lost(self) -> bool:
        lost = self._life not in {None, self._falco.life}
        if lost:
            self._life = None
        return lost


async def test_a_break_that_is_seen_while_idle_is_mended_while_idle(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    falco = Endpoint(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_pool, falco.setup.destination)
        falco.setup.channel.put(falco.items[:2])
        await trio.sleep(1)
        assert falco.setup.destination.stalled() is None
        falco.life += 1
        await falco.setup.in_flight.drained()
        nursery.cancel_scope.cancel()
    assert falco.ids == [["id-0", "id-1"]] * 2
    assert falco.ledger.done.sequence_number == 1
    assert outcomes(falco.setup.metrics) == (2, 0, 0)
    assert falco.setup.metrics.posts.events.value == 2
    assert falco.setup.metrics.doubt.posted_again._value.get() == 2


@pytest.mark.parametrize(
    "fault", [Broken("reset"), Broken("HTTP 503", status=503), Silent("no answer")]
)
async def test_what_is_in_doubt_goes_before_the_batch_that_met_the_break(
    fault: Retryable, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def away(_: Events) -> None:
        if len(falco.posts) in {3, 4}:
            raise fault

    falco = Endpoint(monkeypatch, concurrency=1, batch_max_events=2)
    falco.answers.append(away)
    await falco.deliver(8)
    first, second, third, fourth = ([f"id-{n}", f"id-{n + 1}"] for n in (0, 2, 4, 6))
    assert falco.ids == [first, second, third, first, first, second, third, fourth]
    assert falco.times == [0, 0, 0, 1, 2, 2, 2, 2]
    assert falco.ledger.done.sequence_number == 7


async def test_another_fault_of_the_endpoint_leaves_the_doubt_alone(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    def busy(_: Events) -> None:
        if len(falco.posts) == 2:
            raise Retryable("HTTP 429", status=429)

    falco = Endpoint(monkeypatch, concurrency=1, batch_max_events=1)
    falco.answers.append(busy)
    await falco.deliver(3)
    assert falco.ids == [["id-0"], ["id-1"], ["id-1"], ["id-2"]]


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_an_event_that_breaks_the_endpoint_is_found(
    concurrency: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """It answers, looks at the event, and ends; all that it had in its queue is lost."""

    def crash(events: Events) -> None:
        if "id-70" in {event["auditID"] for event in events}:
            falco.life += 1

    falco = Endpoint(monkeypatch, concurrency=concurrency, batch_max_events=50)
    falco.answers.append(crash)
    with trio.fail_after(3600):
        await falco.deliver(300)
    assert [(each.audit_id, each.reason) for each in falco.setup.letters.letters] == [
        ("id-70", "crash")
    ]
    assert outcomes(falco.setup.metrics)[:2] == (299, 1)
    assert falco.ledger.done.sequence_number == 299
    alone = [ids for ids in falco.ids if ids == ["id-70"]]
    assert len(alone) == CRASHES
    assert max(len(ids) for ids in falco.ids if "id-70" in ids) <= ALONE_FIRST


async def test_an_endpoint_that_breaks_with_everything_makes_no_dead_letter(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """It is sick itself: all is kept until it is well."""

    def crash(_: Events) -> None:
        if len(falco.posts) < 200:
            falco.life += 1

    falco = Endpoint(monkeypatch, concurrency=4, batch_max_events=50)
    falco.answers.append(crash)
    with trio.fail_after(36_000):
        await falco.deliver(300)
    assert falco.setup.letters.letters == []
    assert falco.ledger.done.sequence_number == 299


async def test_an_event_that_breaks_the_endpoint_waits_for_others_to_prove_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """As long as there is nothing else, nothing says that it is the event."""

    def crash(events: Events) -> None:
        if "id-0" in {event["auditID"] for event in events}:
            falco.life += 1

    falco = Endpoint(monkeypatch, concurrency=2)
    falco.answers.append(crash)
    with trio.fail_after(36_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pool, falco.setup.destination)
            falco.setup.channel.put(falco.items[:1])
            await trio.sleep(100)
            assert falco.setup.letters.letters == []
            for item in falco.items[1:10]:
                falco.setup.channel.put([item])
                await trio.sleep(10)
            await falco.setup.in_flight.drained()
            nursery.cancel_scope.cancel()
    assert [each.audit_id for each in falco.setup.letters.letters] == ["id-0"]
    assert outcomes(falco.setup.metrics)[:2] == (9, 1)
