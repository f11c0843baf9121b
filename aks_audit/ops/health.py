"""What the probes answer: each part by name, and what is wrong with it.

Liveness asks whether a restart would help: whether a part makes no progress although it should.
Readiness asks whether events flow now: a part may be unready for hours (Falco is away) in a process
that does all it can.
"""

from collections.abc import Callable

Check = Callable[[], str | None]
"""Returns None when all is well, else what is wrong, for people."""


class Heartbeat:
    """One part's promise to give a sign of life, and whether it is kept.

    Before a part takes a step it says how long the step may take at most. Before it waits for
    work it says that it rests.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: float | None = None

    def expect(self, *, within_s: float) -> None:
        """Promise the next sign of life, in seconds from now."""
        self._due = self._clock() + within_s

    def rest(self) -> None:
        """Promise nothing: the part waits for work."""
        self._due = None

    def overdue(self) -> str | None:
        """The liveness check."""
        late_s = self._clock() - self._due if self._due is not None else 0.0
        return f"no progress, {late_s:.0f} s overdue" if late_s > 0 else None


class Health:
    """The checks of all the parts, asked whenever a probe comes."""

    def __init__(self) -> None:
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}

    def add(self, part: str, *, live: Check | None = None, ready: Check | None = None) -> None:
        """Add a part's checks to the probes."""
        if live is not None:
            self._live[part] = live
        if ready is not None:
            self._ready[part] = ready

    def stalled(self) -> dict[str, str]:
        """The parts that fail the liveness probe, with the reason."""
        return _failing(self._live)

    def unready(self) -> dict[str, str]:
        """The parts that fail the readiness probe, with the reason."""
        return _failing(self._ready)


def _failing(checks: dict[str, Check]) -> dict[str, str]:
    answers = {part: check() for part, check in checks.items()}
    return {part: wrong for part, wrong in answers.items() if wrong is not None}
