import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.delivery.inflight import InFlight
from aks_audit.model import Item, Outcome
from aks_audit.ops.metrics import Metrics
from tests.helpers import sized_item


def sized(*sizes: int) -> list[Item]:
    return [sized_item(size) for size in sizes]


def make_in_flight(max_bytes: int, max_events: int = 100) -> InFlight:
    return InFlight(max_bytes, Metrics().outcomes, max_events)


def deliver(in_flight: InFlight, items: list[Item]) -> None:
    in_flight.settle(items, Outcome.DELIVERED)


async def test_room_is_counted_until_settled(autojump_clock: MockClock) -> None:
    in_flight = make_in_flight(100)
    items = sized(10, 20, 30)
    assert in_flight.admit(items) == 60
    assert (in_flight.events, in_flight.bytes) == (3, 60)
    deliver(in_flight, items[:1])
    assert (in_flight.events, in_flight.bytes) == (2, 50)
    deliver(in_flight, items[1:])
    assert (in_flight.events, in_flight.bytes) == (0, 0)


@pytest.mark.parametrize(("max_bytes", "max_events"), [(10, 1000), (10**6, 1)])
async def test_where_it_is_full_who_wants_room_waits(
    max_bytes: int, max_events: int, autojump_clock: MockClock
) -> None:
    in_flight = make_in_flight(max_bytes, max_events)
    items = sized(10)
    in_flight.admit(items)
    assert in_flight.full
    got_room = trio.Event()

    async def wait() -> None:
        await in_flight.room()
        got_room.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not got_room.is_set()
        deliver(in_flight, items)
        await got_room.wait()


async def test_those_who_wait_for_room_do_not_pass_the_bound_together(
    autojump_clock: MockClock,
) -> None:
    in_flight = make_in_flight(10)
    admitted = sized(10)
    in_flight.admit(admitted)

    async def admit() -> None:
        await in_flight.room()
        admitted.extend(sized(10))
        in_flight.admit(admitted[-1:])

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(admit)
        for number in range(5):
            await trio.testing.wait_all_tasks_blocked()
            assert (len(admitted), in_flight.bytes) == (number + 1, 10)
            deliver(in_flight, admitted[number : number + 1])
    assert in_flight.bytes == 10


async def test_a_hub_event_larger_than_the_bound_goes_in_whole_and_by_itself(
    autojump_clock: MockClock,
) -> None:
    in_flight = make_in_flight(100, max_events=3)
    items = sized(*[90] * 8)
    await in_flight.room()
    in_flight.admit(items)
    got_room = trio.Event()

    async def wait() -> None:
        await in_flight.room()
        got_room.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for item in items:
            await trio.testing.wait_all_tasks_blocked()
            assert got_room.is_set() is not in_flight.full
            deliver(in_flight, [item])
    assert got_room.is_set()


async def test_drained_waits_until_the_last_item_is_settled(autojump_clock: MockClock) -> None:
    in_flight = make_in_flight(100)
    await in_flight.drained()
    items = sized(1, 2)
    in_flight.admit(items)
    drained = trio.Event()

    async def wait() -> None:
        await in_flight.drained()
        drained.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        deliver(in_flight, items[:1])
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        deliver(in_flight, items[1:])
    assert drained.is_set()


async def test_who_gives_up_waiting_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    in_flight = make_in_flight(1)
    in_flight.admit(sized(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_flight.room)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (in_flight.events, in_flight.bytes) == (1, 1)


@pytest.mark.parametrize(
    ("outcome", "success", "errors"),
    # A sized item has no audit id: bytes that were never read as an event count as well.
    [(Outcome.DELIVERED, 2, 0), (Outcome.DEAD_LETTERED, 0, 2), (Outcome.DROPPED, 0, 2)],
)
async def test_outcomes_are_counted(
    outcome: Outcome, success: int, errors: int, autojump_clock: MockClock
) -> None:
    metrics = Metrics().outcomes
    in_flight = InFlight(100, metrics)
    items = sized(1, 2)
    in_flight.admit(items)
    in_flight.settle(items, outcome)
    assert (metrics.success.value, metrics.errors.value) == (success, errors)
    assert metrics.by_outcome.labels(outcome)._value.get() == 2
