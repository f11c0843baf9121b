"""The balance that holds after every fault: published = delivered + dead-lettered."""

import json
from collections import Counter
from collections.abc import Callable

from aks_audit.config.load import load
from aks_audit.deadletters import store as dead_letter_store
from aks_audit.deadletters.letter import DeadLetter, decode
from testkit.falco import Key
from testkit.rig import Rig, eventually


def open_store(rig: Rig, **settings: str) -> dead_letter_store.Store:
    """Return the dead-letter store of the forwarders of a rig."""
    config = load(rig.environment(settings))
    return dead_letter_store.open_store(config.dead_letters, config.hub)


Report = Callable[[str, object], None]
"""The type of pytest's ``record_property``: it puts a number into the report of the tests."""


class Balance:
    """Counts what was published, delivered and dead-lettered, and reports what came twice."""

    def __init__(self, rig: Rig, report: Report, **settings: str) -> None:
        self._rig = rig
        self._report = report
        self._store = open_store(rig, **settings)

    def letters(self) -> list[DeadLetter]:
        """Return all dead letters, in order."""
        found = []
        for name in self._store.names():
            data = self._store.read(name)
            assert data is not None
            found += decode(data)
        return found

    def dead_lettered(self) -> Counter[Key]:
        """Return how often each audit event with an id is among the dead letters."""
        return Counter(_key(each) for each in self.letters() if each.audit_id)

    def reasons(self) -> Counter[str]:
        """Return how many dead letters there are for each reason."""
        return Counter(each.reason for each in self.letters())

    def settled(self) -> bool:
        """Whether all that was published is either delivered or dead-lettered."""
        return self._rig.account.lost <= self.dead_lettered().keys()

    def wait(self) -> None:
        """Wait until all that was published is done, and checkpointed."""
        eventually(self.settled, "delivery, or a dead letter, of all that was published")
        self._rig.wait_for_checkpoints()

    def check(self, *, dead: int = 0, duplicates_at_most: int = 0) -> int:
        """Assert that the balance holds; returns how many events came more than once."""
        account, kept = self._rig.account, self.dead_lettered()
        assert account.lost <= kept.keys(), "lost"
        assert not account.unexpected, account.unexpected
        assert not self._rig.falco.dropped
        assert len(kept) == dead
        duplicates = account.duplicates + sum(
            count for key, count in kept.items() if key not in account.lost
        )
        duplicates += sum(kept.values()) - len(kept)
        self._report("published", len(account.published))
        self._report("dead_lettered", dead)
        self._report("duplicates", duplicates)
        assert duplicates <= duplicates_at_most
        return duplicates


def _key(letter: DeadLetter) -> Key:
    return letter.audit_id, letter.stage or json.loads(letter.body)["stage"]
