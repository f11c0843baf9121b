import pytest

from aks_audit.checkpoints.ledger import Entry, Ledger, PartitionLedger
from aks_audit.model import START_OF_STREAM, HubEvent, Position


def at(number: int) -> Position:
    return Position(number, f"offset-{number}")


def hub_event(number: int, partition: str = "0") -> HubEvent:
    return HubEvent(partition, at(number), 0.0, b"")


def opened(ledger: PartitionLedger, number: int, records: int = 1) -> Entry:
    entry = ledger.open(hub_event(number), records)
    assert entry is not None
    return entry


def test_nothing_is_done_at_first() -> None:
    ledger = PartitionLedger("0", at(7))
    assert (ledger.done, ledger.written, ledger.seen) == (at(7), at(7), 7)
    assert not ledger.dirty


def test_a_hub_event_is_done_with_the_last_of_its_records() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    entry = opened(ledger, 0, records=3)
    for _ in range(2):
        entry.settle()
        assert ledger.done == START_OF_STREAM
    entry.settle()
    assert ledger.done == at(0)
    assert ledger.dirty


def test_done_waits_for_what_lies_before() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    first, second, third = (opened(ledger, number) for number in range(3))
    third.settle()
    second.settle()
    assert ledger.done == START_OF_STREAM
    first.settle()
    assert ledger.done == at(2)


def test_a_hub_event_without_records_is_done_at_once() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    opened(ledger, 0, records=0)
    assert ledger.done == at(0)


def test_a_hub_event_without_records_waits_for_what_lies_before() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    first = opened(ledger, 0)
    opened(ledger, 1, records=0)
    assert ledger.done == START_OF_STREAM
    first.settle()
    assert ledger.done == at(1)


def test_gaps_in_the_numbers_are_no_gaps_in_the_prefix() -> None:
    ledger = PartitionLedger("0", at(4))
    for number in (5, 9, 1_000_000):
        opened(ledger, number).settle()
    assert ledger.done == at(1_000_000)


def test_a_redelivery_is_passed_over_whether_in_flight_or_done() -> None:
    ledger = PartitionLedger("0", at(4))
    opened(ledger, 5).settle()
    in_flight = opened(ledger, 6)
    for number in (-1, 0, 4, 5, 6):
        assert ledger.open(hub_event(number), 1) is None
    assert ledger.done == at(5)
    in_flight.settle()
    assert ledger.done == at(6)


def test_settling_more_than_there_is_is_an_error() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    entry = opened(ledger, 0)
    entry.settle()
    with pytest.raises(ValueError, match="1 of the 0 open records"):
        entry.settle()


def test_a_ticket_tells_where_it_belongs() -> None:
    entry = opened(PartitionLedger("7", START_OF_STREAM), 3)
    assert (entry.partition, entry.position) == ("7", at(3))


def test_written_never_steps_back() -> None:
    ledger = PartitionLedger("0", at(0))
    opened(ledger, 1).settle()
    opened(ledger, 2).settle()
    ledger.wrote(at(2))
    ledger.wrote(at(1))
    assert ledger.written == at(2)
    assert not ledger.dirty


def test_dirty_ledgers_are_those_with_something_to_write() -> None:
    ledgers = Ledger()
    first, second = (ledgers.claim(name, START_OF_STREAM) for name in ("0", "1"))
    assert ledgers.dirty() == []
    opened(second, 0).settle()
    assert ledgers.dirty() == [second]
    second.wrote(second.done)
    assert ledgers.dirty() == []
    assert ledgers.partitions() == [first, second]


def test_a_claim_where_we_stopped_writing_goes_on() -> None:
    ledgers = Ledger()
    ledger = ledgers.claim("0", at(0))
    in_flight = opened(ledger, 1)
    again = ledgers.claim("0", at(0))
    assert again is ledger
    assert again.open(hub_event(1), 1) is None
    in_flight.settle()
    assert again.done == at(1)


def test_a_claim_after_a_write_goes_on_from_what_was_written() -> None:
    ledgers = Ledger()
    ledger = ledgers.claim("0", at(0))
    opened(ledger, 1).settle()
    opened(ledger, 2)
    ledger.wrote(at(1))
    assert ledgers.claim("0", at(1)) is ledger
    assert ledger.open(hub_event(2), 1) is None


@pytest.mark.parametrize("position", [at(0), at(2), at(99), Position(1, "elsewhere")])
def test_a_claim_anywhere_else_starts_anew(position: Position) -> None:
    ledgers = Ledger()
    old = ledgers.claim("0", at(0))
    opened(old, 1).settle()
    old.wrote(at(1))
    in_flight = opened(old, 2)
    fresh = ledgers.claim("0", position)
    assert fresh is not old
    assert (fresh.done, fresh.seen) == (position, position.sequence_number)
    in_flight.settle()
    assert fresh.done == position
    assert ledgers.get("0") is fresh
    assert old not in ledgers.dirty()


def test_a_forgotten_partition_is_cut_off() -> None:
    ledgers = Ledger()
    ledger = ledgers.claim("0", at(0))
    opened(ledger, 1).settle()
    ledgers.forget("0", ledger)
    ledgers.forget("0", ledger)
    assert ledgers.get("0") is None
    assert ledgers.dirty() == []
    assert ledgers.claim("0", at(0)) is not ledger


def test_only_the_claim_that_was_lost_is_forgotten() -> None:
    ledgers = Ledger()
    lost = ledgers.claim("0", at(0))
    fresh = ledgers.claim("0", at(5))
    ledgers.forget("0", lost)
    assert ledgers.get("0") is fresh
