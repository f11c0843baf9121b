"""The memory of the stand-in: what was sent to it, and what Falco would do with that."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from testkit.falco.rules import Accepted, Dropped, apply_rules, count_items

Key = tuple[str, str]
"""`(auditID, stage)`: one request passes several stages, and each is a separate event."""

_EXCERPT = 300


class Received:
    """Counts of everything, and on request the bytes; all of it may be read from any thread."""

    def __init__(self, *, count_only: bool, keep_bytes: bool) -> None:
        self._count_only = count_only
        self._keep_bytes = keep_bytes
        self._changed = threading.Condition()
        self._receipts: dict[Key, int] = {}
        self._first_seen: dict[Key, float] = {}
        self._dropped: list[Dropped] = []
        self._bodies: list[bytes] = []
        self._heads: list[Mapping[str, str]] = []
        self._batches: Counter[int] = Counter()
        self._answers: Counter[int] = Counter()
        self.count = 0
        """Events accepted, duplicates included; if they are only counted, the items seen."""
        self.requests = 0
        """Requests whose head came in, with every outcome."""
        self.taken_bodies = 0
        self.taken_bytes = 0
        self.connections = 0

    @property
    def unique(self) -> int:
        """How many different events were accepted."""
        return len(self._receipts)

    @property
    def duplicates(self) -> int:
        """How many events were accepted again."""
        return 0 if self._count_only else self.count - len(self._receipts)

    @property
    def receipts(self) -> dict[Key, int]:
        """How often each event was accepted."""
        with self._changed:
            return self._receipts.copy()

    @property
    def first_seen(self) -> dict[Key, float]:
        """When each event was first accepted, on the monotonic clock."""
        with self._changed:
            return self._first_seen.copy()

    @property
    def dropped(self) -> list[Dropped]:
        """Everything that was answered with 200 and dropped, with the first of its bytes."""
        with self._changed:
            return self._dropped.copy()

    @property
    def bodies(self) -> list[bytes]:
        """The taken bodies in order, exactly as they came, if they are kept."""
        with self._changed:
            return self._bodies.copy()

    @property
    def heads(self) -> list[Mapping[str, str]]:
        """The header fields of each taken body, names in lower case, if bytes are kept."""
        with self._changed:
            return self._heads.copy()

    @property
    def batches(self) -> Counter[int]:
        """How many bodies held how many events."""
        with self._changed:
            return self._batches.copy()

    @property
    def answers(self) -> Counter[int]:
        """How often each status was answered."""
        with self._changed:
            return self._answers.copy()

    @property
    def events(self) -> dict[Key, bytes]:
        """The exact bytes of each accepted event (the last ones that came), if they are kept."""
        outcomes = (outcome for body in self.bodies for outcome in apply_rules(body))
        return {outcome.key: outcome.raw for outcome in outcomes if isinstance(outcome, Accepted)}

    def note_connection(self) -> None:
        """Count a connection."""
        with self._changed:
            self.connections += 1
            self._changed.notify_all()

    def note_request(self) -> None:
        """Count a request whose head has come in."""
        with self._changed:
            self.requests += 1
            self._changed.notify_all()

    def note_answer(self, status: int) -> None:
        """Count an answer."""
        with self._changed:
            self._answers[status] += 1
            self._changed.notify_all()

    def take(self, body: bytes, head: Mapping[str, str]) -> None:
        """Record a body that is accepted; what it holds does not change the answer."""
        outcomes = [] if self._count_only else apply_rules(body)
        with self._changed:
            self.taken_bodies += 1
            self.taken_bytes += len(body)
            if self._keep_bytes:
                self._bodies.append(body)
                self._heads.append(head)
            if self._count_only:
                self.count += count_items(body)
            else:
                self._batches[len(outcomes)] += 1
                self._take_outcomes(outcomes)
            self._changed.notify_all()

    def _take_outcomes(self, outcomes: list[Accepted | Dropped]) -> None:
        now = monotonic()
        for outcome in outcomes:
            if isinstance(outcome, Dropped):
                excerpt = outcome.data[:_EXCERPT]
                self._dropped.append(Dropped(outcome.reason, excerpt, outcome.whole_body))
                continue
            key = outcome.audit_id, outcome.stage
            times = self._receipts.get(key, 0)
            self._receipts[key] = times + 1
            self.count += 1
            if not times:
                self._first_seen[key] = now

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        """Block until the predicate holds; TimeoutError says what has come instead."""
        with self._changed:
            if self._changed.wait_for(predicate, timeout):
                return True
        raise TimeoutError(f"not within {timeout} s; so far: {self.summary()}")

    def summary(self) -> dict[str, Any]:
        """Return the counts, ready for JSON."""
        with self._changed:
            return {
                "events": self.count,
                "unique": self.unique,
                "duplicates": self.duplicates,
                "dropped": len(self._dropped),
                "dropped_reasons": dict(Counter(drop.reason[:80] for drop in self._dropped)),
                "requests": self.requests,
                "bodies": self.taken_bodies,
                "bytes": self.taken_bytes,
                "connections": self.connections,
                "answers": {str(status): n for status, n in sorted(self._answers.items())},
                "batches": {str(size): n for size, n in sorted(self._batches.items())},
            }
