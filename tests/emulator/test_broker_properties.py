"""Properties of the broker and its positions, each against a simpler model of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator import Broker, message
from emulator.filters import EARLIEST, LATEST, Field, Position, parse_selector
from tests.emulator.helpers import attempt, unhurried

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.message import StoredEvent


@unhurried
@given(
    st.lists(st.tuples(st.sampled_from("012"), st.integers(0, 300)), max_size=60),
    st.integers(100, 3000),
)
def test_retention_keeps_the_newest_events_within_its_bytes(
    published: list[tuple[str, int]], retention: int
) -> None:
    broker = Broker({"hub": 3}, retention_bytes=retention)
    order: list[tuple[str, int, int]] = []
    for name, size in published:
        (number,) = broker.publish("hub", name, [bytes(size)])
        event = broker.read(broker.hub("hub").partition(name), number, 1, 1)[0]
        order.append((name, number, len(event.encoded)))
    kept: list[tuple[str, int, int]] = []
    total = 0
    for each in reversed(order):
        total += each[2]
        if total > retention and kept:
            break
        kept.insert(0, each)
    hub = broker.hub("hub")
    assert hub.size_bytes == sum(size for _, _, size in kept)
    for partition in hub.partitions:
        expected = [number for name, number, _ in kept if name == partition.id]
        events = broker.read(partition, 0, 1000, 10**9)
        assert [event.sequence_number for event in events] == expected
        assert partition.size_bytes == sum(len(event.encoded) for event in events)
        assert (
            partition.last_sequence_number == sum(name == partition.id for name, _, _ in order) - 1
        )


@unhurried
@given(
    st.integers(0, 30),
    st.integers(0, 20),
    st.sampled_from([Field.SEQUENCE_NUMBER, Field.OFFSET, Field.ENQUEUED_TIME]),
    st.integers(-2, 2000),
    st.booleans(),
)
def test_a_position_is_where_a_scan_finds_it(
    count: int,
    dropped: int,
    field: Field,
    value: int,
    inclusive: bool,  # noqa: FBT001
) -> None:
    partition = Broker({"hub": 1}).hub("hub").partition("0")
    for number in range(count):
        partition.append(message.of_body(bytes(number)), 100 + number // 3 * 10)
    for _ in range(min(dropped, count)):
        partition.drop_oldest()
    kept = [
        event for n in range(partition.first_sequence_number, count) if (event := partition.read(n))
    ]
    keys: dict[Field, Callable[[StoredEvent], int]] = {
        Field.SEQUENCE_NUMBER: lambda event: event.sequence_number,
        Field.OFFSET: lambda event: event.offset,
        Field.ENQUEUED_TIME: lambda event: event.enqueued_ms,
    }
    key = keys[field]
    found, condition = attempt(partition.locate, Position(field, value, inclusive))
    if condition is not None:
        assert field is not Field.ENQUEUED_TIME
        assert condition == "com.microsoft:argument-error"
        assert partition.last_event is None or value > key(partition.last_event)
        return
    matching = [e for e in kept if key(e) > value or (inclusive and key(e) == value)]
    assert found == (matching[0].sequence_number if matching else count)
    assert partition.locate(EARLIEST) == count - len(kept)
    assert partition.locate(LATEST) == count


@unhurried
@given(
    st.sampled_from([Field.SEQUENCE_NUMBER, Field.OFFSET, Field.ENQUEUED_TIME]),
    st.integers(0, 2**63),
    st.booleans(),
)
def test_selectors_are_read_back(field: Field, value: int, inclusive: bool) -> None:  # noqa: FBT001
    operator = ">=" if inclusive else ">"
    selector = f"amqp.annotation.x-opt-{field.value} {operator} '{value}'"
    assert parse_selector(selector) == Position(field, value, inclusive)


@unhurried
@given(st.text(max_size=60) | st.text(max_size=5).map("amqp.annotation.x-opt-offset > '{}'".format))
def test_any_text_is_a_selector_or_an_error(text: str) -> None:
    position, condition = attempt(parse_selector, text)
    assert (position is None) == (condition == "com.microsoft:argument-error")


@pytest.mark.parametrize(
    ("selector", "position"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", EARLIEST),
        ("amqp.annotation.x-opt-offset >= '-1'", EARLIEST),
        ("amqp.annotation.x-opt-offset > '@latest'", LATEST),
        ("amqp.annotation.x-opt-offset >'12'", Position(Field.OFFSET, 12)),
    ],
)
def test_the_selectors_of_the_sdks(selector: str, position: Position) -> None:
    assert parse_selector(selector) == position
