import gc
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest

from aks_audit.checkpoints.ledger import COMPACT_MIN, Entry, PartitionLedger
from aks_audit.delivery.dedup import BYTES_PER_EVENT, Window, key_of
from aks_audit.model import START_OF_STREAM, AuditEvent, HubEvent, Position
from tests.helpers import audit_event


def opened(ledger: PartitionLedger, records: int = 1) -> Entry:
    number = ledger.seen + 1
    entry = ledger.open(
        HubEvent(ledger.partition, Position(number, str(number)), 0.0, b""), records
    )
    assert entry is not None
    return entry


def event(audit_id: str, **fields: str) -> AuditEvent:
    return AuditEvent(audit_event(audit_id, **fields), audit_id, "ResponseComplete")


def test_an_event_is_told_by_its_bytes_its_cluster_and_its_webhook() -> None:
    one = event("a")
    assert key_of(one, "default") == key_of(event("a"), "default")
    assert key_of(one, "default") != key_of(one, "prod")
    assert key_of(one, "default") != key_of(event("a", verb="get"), "default")
    assert key_of(one, "default") != key_of(AuditEvent(one.raw, "a", "", "prod"), "default")


def test_the_last_events_are_remembered_half_the_window_at_least() -> None:
    entry, later = (opened(PartitionLedger("0", START_OF_STREAM)) for _ in "ab")
    for count in range(10, 60):
        window = Window(10)
        for number in range(count):
            assert window.meet((number, 0), entry) is None
            assert len(window) <= 10
        assert all(window.meet((number, 0), later) is entry for number in range(count - 5, count))
        assert window.meet((count - 11, 0), later) is None


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_windows_remember_the_last_event(size: int) -> None:
    entry, later = (opened(PartitionLedger("0", START_OF_STREAM)) for _ in "ab")
    window = Window(size)
    for number in range(10):
        assert window.meet((number, 0), entry) is None
        assert window.meet((number, 0), later) is entry


def measure(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        del make
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        assert kept
    finally:
        tracemalloc.stop()
    return taken


@pytest.mark.parametrize(
    ("records", "id_length", "bytes_each"),
    [
        (16, 36, BYTES_PER_EVENT),
        (16, 5000, BYTES_PER_EVENT),
        (1, 36, 2 * BYTES_PER_EVENT),
    ],
    ids=["many in a hub event", "long ids", "one in a hub event"],
)
def test_a_remembered_event_costs_what_is_stated(
    records: int, id_length: int, bytes_each: int
) -> None:
    size = 4096

    def fill() -> Window:
        window, ledger = Window(size), PartitionLedger("0", START_OF_STREAM)
        for first in range(0, 2 * size, records):
            entry = opened(ledger, records)
            for number in range(first, first + records):
                window.meet(key_of(event(f"{number:0{id_length}}"), "default"), entry)
                entry.settle()
        return window

    taken = measure(fill)
    assert taken < 1.2 * size * bytes_each
    assert taken > 0.5 * size * bytes_each  # or the statement scares people away


def test_long_chains_of_followers_settle_without_a_stack() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    first = last = opened(ledger)
    told: list[int] = []
    for number in range(50_000):
        entry = opened(ledger)
        entry.follow(last, partial(told.append, number))
        last = entry
    assert ledger.done == START_OF_STREAM
    first.settle()
    assert ledger.done.sequence_number == 50_000
    assert told == list(range(50_000))


def test_many_followers_of_one_event_settle_with_it() -> None:
    one, two = (PartitionLedger(name, START_OF_STREAM) for name in "01")
    first = opened(one)
    told: list[int] = []
    for number in range(10_000):
        opened(two, 2).follow(first, partial(told.append, number))
    copies = list(two._entries)
    assert not told
    first.settle()
    assert len(told) == 10_000
    assert two.done == START_OF_STREAM
    for entry in reversed(copies):
        entry.settle()
    assert two.done.sequence_number == 9_999


def test_what_is_done_behind_an_open_event_takes_no_memory() -> None:
    ledger = PartitionLedger("0", START_OF_STREAM)
    held = opened(ledger)
    entries = [held]
    for number in range(50_000):
        entry = opened(ledger)
        if number % 10_000 == 0:
            entries.append(entry)
        else:
            entry.settle()
        assert len(ledger._entries) <= COMPACT_MIN
    assert ledger.done == START_OF_STREAM
    for entry in entries[:0:-1]:
        entry.settle()
    assert ledger.done == START_OF_STREAM
    held.settle()
    assert ledger.done.sequence_number == 50_000


def test_compaction_forgets_no_position() -> None:
    """The done prefix ends right before each open event, wherever that lies."""
    ledger = PartitionLedger("0", START_OF_STREAM)
    entries = [opened(ledger) for _ in range(COMPACT_MIN - 1)]
    held = entries[::100]
    for entry in entries:
        if entry not in held:
            entry.settle()
    opened(ledger, 0)
    assert len(ledger._entries) < 3 * len(held)
    for entry in held:
        assert ledger.done.sequence_number == entry.position.sequence_number - 1
        entry.settle()
    assert ledger.done.sequence_number == COMPACT_MIN - 1
