"""How the load balancing goes: whether its last round has worked, and who owns which partition.

A round has worked only when all of it has. A store that can be read and not written answers the
first call of each round, and no partition ever becomes ours.
"""

import time
from collections.abc import Collection, Iterable
from typing import Any

BALANCE_S = 10.0
"""Between two rounds of load balancing. The SDK's 30 s is also how long a partition rests
after an error; ownership lasts for six rounds."""
BALANCE_LAPSE_S = 6 * BALANCE_S
"""How long load balancing may stand still: after that ownership is lost anyway."""


class Balancing:
    """What the rounds of load balancing of one client have found and done.

    It is told on the SDK's thread and asked on trio's: what both touch is replaced whole.
    """

    def __init__(self) -> None:
        self.partitions: frozenset[str] = frozenset()
        """All of the hub; empty until they are known."""
        self.owned: frozenset[str] = frozenset()
        """The partitions that are ours, as far as the last round knows."""
        self.unowned: frozenset[str] = frozenset()
        """The partitions that nobody owns, as far as the last round knows."""
        self.step_at: float | None = None
        """Monotonic time at which the last step of a round began."""
        self.fault: str | None = None
        """Why the last round failed; None if it worked, or none has ended yet."""
        self._worked_at: float | None = None

    def step(self) -> None:
        """A call to the store begins: there are several in a round."""
        self.step_at = time.monotonic()

    def listed(self, ownership: Iterable[dict[str, Any]], ours: str | None) -> None:
        """The store has told who owns what.

        Args:
            ownership: The SDK's records, one for each partition that was ever claimed.
            ours: The name under which this client owns partitions, once it has claimed one.
        """
        since = time.time() - BALANCE_LAPSE_S
        owners = {
            each["partition_id"]: each["owner_id"]
            for each in ownership
            if each["owner_id"] and each["last_modified_time"] >= since
        }
        self.unowned = self.partitions - owners.keys()
        if not self.unowned and ours not in owners.values():
            self._worked()  # others own all: there is nothing to claim

    def claimed(self, wanted: Collection[str], claimed: Collection[str]) -> None:
        """The store has taken our claims; somebody else was quicker with the others."""
        self.owned = frozenset(claimed)
        self.unowned -= frozenset(wanted)
        self._worked()

    def stood_by(self) -> None:
        """The last round has claimed nothing: nothing is ours."""
        self.owned = frozenset()

    def released(self, partition: str) -> None:
        """A partition of ours was released, between two rounds."""
        self.owned -= {partition}
        self.unowned |= {partition}

    def failed(self, fault: str) -> None:
        """A round has failed."""
        self.fault = fault

    def _worked(self) -> None:
        self._worked_at, self.fault = time.monotonic(), None

    def unready(self, now: float, before: str | None) -> str | None:
        """What is missing at a monotonic time, for people; None if nothing is.

        ``before`` is why the client before this one ended, if there was one.
        """
        if self._worked_at is None:
            why = self.fault or before or "no answer yet"
            found = f"nothing is claimed yet{self._unowned()}" if self.unowned else "connecting"
            return f"{found}: {why}"
        if now - self._worked_at > BALANCE_LAPSE_S:
            return (
                f"load balancing has failed for {BALANCE_LAPSE_S:g} s, so that our ownership has"
                f" expired{self._unowned()}: {self.fault or 'no answer'}"
            )
        if not self.owned and self.unowned:
            return f"nothing is ours{self._unowned()}"
        return None

    def _unowned(self) -> str:
        names = ", ".join(sorted(self.unowned, key=lambda name: (len(name), name)))
        return f" (owned by nobody: {names})" if names else ""
