from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aks_audit.checkpoints.ledger import Entry, Ledger, PartitionLedger
from aks_audit.model import HubEvent, Position
from tests.helpers import examples

PARTITIONS = ["0", "1"]


def at(number: int) -> Position:
    return Position(number, str(number))


def hub_event(partition: str, number: int) -> HubEvent:
    return HubEvent(partition, at(number), 0.0, b"")


@examples(200)
@given(st.lists(st.integers(0, 4), max_size=20), st.integers(1, 5), st.data())
def test_any_order_of_outcomes_moves_the_end_of_the_done_prefix(
    records: list[int], step: int, data: st.DataObject
) -> None:
    """Against the definition: done is the last event before the first that has an open record."""
    ledger = PartitionLedger("0", at(-1))
    numbers = [step * (index + 1) for index in range(len(records))]
    entries = [ledger.open(hub_event("0", n), r) for n, r in zip(numbers, records, strict=True)]
    left = records.copy()
    tickets = [index for index, count in enumerate(records) for _ in range(count)]
    for index in data.draw(st.permutations(tickets)):
        before = ledger.done.sequence_number
        entry = entries[index]
        assert entry is not None
        entry.settle()
        left[index] -= 1
        first_open = next((i for i, count in enumerate(left) if count), len(left))
        assert ledger.done == (at(numbers[first_open - 1]) if first_open else at(-1))
        assert ledger.done.sequence_number >= before
    if numbers:
        assert ledger.done == at(numbers[-1])


class Model:
    """What should be known of one claim: its events in order, with the records left to settle."""

    def __init__(self, claimed_at: Position) -> None:
        self.claimed_at = claimed_at
        self.events: list[tuple[int, list[int]]] = []
        self.written = claimed_at

    @property
    def done(self) -> Position:
        done = self.claimed_at
        for number, left in self.events:
            if left[0]:
                break
            done = at(number)
        return done

    @property
    def seen(self) -> int:
        return self.events[-1][0] if self.events else self.claimed_at.sequence_number


class Claims(RuleBasedStateMachine):
    """Two partitions that are claimed, read, settled, written and claimed again, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledgers = Ledger()
        self.models: dict[str, Model] = {}
        self.open: list[tuple[Entry, list[int]]] = []
        """Tickets, those of claims that were cut off among them."""
        self.highest: dict[PartitionLedger, int] = {}

    @rule(partition=st.sampled_from(PARTITIONS), number=st.integers(-1, 30))
    def claim_somewhere(self, partition: str, number: int) -> None:
        known = self.models.get(partition)
        ledger = self.ledgers.claim(partition, at(number))
        if known is None or known.written != at(number):
            self.models[partition] = Model(at(number))
            assert ledger.done == at(number)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def claim_where_we_stopped(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from(sorted(self.models)))
        before = self.ledgers.get(partition)
        assert self.ledgers.claim(partition, self.models[partition].written) is before

    @rule(partition=st.sampled_from(PARTITIONS))
    def lose(self, partition: str) -> None:
        ledger = self.ledgers.get(partition)
        if ledger is not None:
            self.ledgers.forget(partition, ledger)
            del self.models[partition]

    @precondition(lambda self: self.models)
    @rule(data=st.data(), gap=st.integers(1, 3), records=st.integers(0, 3))
    def receive(self, data: st.DataObject, gap: int, records: int) -> None:
        partition = data.draw(st.sampled_from(sorted(self.models)))
        ledger, model = self.ledgers.get(partition), self.models[partition]
        assert ledger is not None
        number = model.seen + gap
        entry = ledger.open(hub_event(partition, number), records)
        assert entry is not None
        left = [records]
        model.events.append((number, left))
        self.open += [(entry, left)] * records

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        partition = data.draw(st.sampled_from(sorted(self.models)))
        ledger = self.ledgers.get(partition)
        assert ledger is not None
        number = data.draw(st.integers(-1, self.models[partition].seen))
        assert ledger.open(hub_event(partition, number), 2) is None

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        entry, left = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        entry.settle()
        left[0] -= 1

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        for ledger in self.ledgers.dirty():
            if data.draw(st.booleans()):
                ledger.wrote(ledger.done)
                self.models[ledger.partition].written = ledger.done

    @invariant()
    def done_is_the_end_of_the_contiguous_prefix(self) -> None:
        assert {known.partition for known in self.ledgers.partitions()} == set(self.models)
        for ledger in self.ledgers.partitions():
            model = self.models[ledger.partition]
            assert ledger.done == model.done
            assert ledger.seen == model.seen
            assert ledger.written == model.written
            assert ledger.dirty == (model.done.sequence_number > model.written.sequence_number)

    @invariant()
    def nothing_steps_back(self) -> None:
        for ledger in self.ledgers.partitions():
            assert ledger.done.sequence_number >= self.highest.get(ledger, -1)
            self.highest[ledger] = ledger.done.sequence_number


Claims.TestCase.settings = examples(100)
TestClaims = Claims.TestCase
