"""A rate limit per audit event, with a burst.

The generic cell rate algorithm (ITU-T I.371) keeps one moment: the time at which the next event is
due if the rate is kept exactly. An event may come earlier than that by what the burst allows.
"""

import trio


class RateLimiter:
    """At most ``rate_per_s`` events a second, in bursts of at most ``burst``."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._interval_s = 1 / rate_per_s
        self._tolerance_s = (burst - 1) * self._interval_s
        self._due = -float("inf")

    async def acquire(self, events: int) -> None:
        """Wait until so many events may go.

        Callers are served in the order in which they call. More events than a burst wait until
        the rate allows all of them.
        """
        now = trio.current_time()
        start = max(self._due, now)
        self._due = start + events * self._interval_s
        # The last of the events is due one interval before the next one.
        await trio.sleep(max(0.0, self._due - self._interval_s - self._tolerance_s - now))


class Unlimited:
    """No limit: every event may go at once."""

    async def acquire(self, events: int) -> None:
        """Let them go."""
