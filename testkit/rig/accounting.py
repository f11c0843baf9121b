"""Compares what was published with what arrived."""

from collections import Counter
from collections.abc import Iterable

from testkit.falco import Key, ThreadedFalco
from testkit.rig.wait import DEADLINE_S
from testkit.streams.stream import Published


class Accounting:
    """Keeps the audit events that were published, and compares them with Falco's receipts."""

    def __init__(self, falco: ThreadedFalco) -> None:
        self._falco = falco
        self.published: Counter[Key] = Counter()

    def note(self, published: Iterable[Published]) -> None:
        """Expect the audit events of these hub events."""
        for each in published:
            self.published.update(each.audit)

    @property
    def lost(self) -> set[Key]:
        """The audit events that did not arrive."""
        return self.published.keys() - self._falco.receipts.keys()

    @property
    def unexpected(self) -> set[Key]:
        """The audit events that arrived and were never published."""
        return self._falco.receipts.keys() - self.published.keys()

    @property
    def duplicates(self) -> int:
        """How many audit events arrived more often than they were published."""
        receipts = self._falco.receipts
        return sum(max(0, receipts[key] - self.published[key]) for key in receipts)

    def complete(self) -> bool:
        """Whether all that was published has arrived."""
        return self._falco.received.unique >= len(self.published) and not self.lost

    def wait(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until all that was published has arrived."""
        self._falco.wait_for(self.complete, timeout_s)

    def check(self, *, duplicates_at_most: int = 0) -> None:
        """Assert that nothing was lost, added or dropped by Falco, and that few came twice."""
        assert not self.lost
        assert not self.unexpected
        assert not self._falco.dropped
        assert self.duplicates <= duplicates_at_most
