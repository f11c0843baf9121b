"""The receiver's signs of life, and what of them lapsed.

A receiver cannot be asked whether it is well: the SDK's consumers are known to stop silently
(azure-sdk-for-python #42332, #30931). So each part of it gives a sign when it runs, and a sign
that is missing for too long is a lapse: the receiver has died, hangs, or spins.
"""

import time

from .balancing import BALANCE_LAPSE_S, Balancing

START_S = 60.0
"""How long a new client may take to its first round of load balancing: the SDK gives
authentication 60 s."""
LAPSE_S = 30.0
"""How long the thread's loop may stand still, and a partition be without a callback; both give a
sign of life every second."""
UNREAD_ROUNDS_MAX = 4
"""So many rounds of load balancing a partition may be owned without being read: it takes one to
begin, and one more after each failure to."""
CONTESTED_S = 60.0
"""How long a partition counts as contested after another program has taken it: with ownership of
its own each program takes it back in its next round of load balancing, and loses it again."""
SPIN_S = 60.0
SPIN_CPU = 0.9
"""A thread that uses this much of a core for this long without a single hub event spins: 256 quiet
partitions wake once a second each, for 4 % of a core in all (measured)."""


class Watchdog:
    """Keeps the signs of life of one receiver.

    They are given on the receiver's thread and looked at on trio's. Each is one attribute that
    is set whole; the containers are copied before they are walked.
    """

    def __init__(self) -> None:
        self.started_at = self.ticked_at = self.quiet_since = time.monotonic()
        """`ticked_at`: when the thread's loop last turned. `quiet_since`: when hub events last
        came, or their callback last waited for room. Monotonic time in seconds."""
        self.quiet_cpu_s = 0.0
        """CPU seconds that the thread has used since `quiet_since`."""
        self.balancing = Balancing()
        self.partitions: dict[str, float] = {}
        """When each partition that is read last called back (monotonic time)."""
        self.blocked: set[str] = set()
        """Partitions whose callback waits for room: no sign is expected of them."""
        self.unread: dict[str, int] = {}
        """For how many rounds of load balancing a partition has been ours and is not read."""
        self.failing: dict[str, str] = {}
        """Why a partition of ours could not be read last, until it calls back."""
        self.unopened: dict[str, str] = {}
        """Why a partition of ours cannot be opened, until it can: it calls back all the same."""
        self.stopped: dict[str, str] = {}
        """Why a partition of ours is not to be read: its checkpoint cannot be used, or may be of
        another stream."""
        self.contested_at: dict[str, float] = {}
        """When another program took a partition last that the store says is ours."""
        self._quiet_cpu_from: float | None = None

    def ticked(self, cpu_s: float) -> None:
        """The loop turns; its thread has used so many CPU seconds since it began."""
        self.ticked_at = now = time.monotonic()
        if self._quiet_cpu_from is None or self.blocked:
            self._quiet_cpu_from, self.quiet_since = cpu_s, now
        self.quiet_cpu_s = cpu_s - self._quiet_cpu_from

    def owns(self, partitions: set[str]) -> None:
        """A round of load balancing ends: these partitions are ours."""
        self.unread = {
            partition: self.unread.get(partition, 0) + 1
            for partition in partitions - self.partitions.keys() - self.stopped.keys()
        }
        for why in (self.failing, self.unopened, self.stopped):
            for partition in why.keys() - partitions:
                del why[partition]

    def claimed(self, partition: str) -> None:
        """A partition is about to be read."""
        self.partitions[partition] = time.monotonic()
        self.blocked.discard(partition)  # by a claim before this one
        self.unread.pop(partition, None)
        self.stopped.pop(partition, None)

    def called_back(self, partition: str, *, events: int) -> None:
        """A partition has called back, with so many hub events."""
        self.partitions[partition] = time.monotonic()
        self.failing.pop(partition, None)
        if events:
            self._quiet_cpu_from = None

    def closed(self, partition: str) -> None:
        """A partition is no longer read."""
        self.partitions.pop(partition, None)
        self.blocked.discard(partition)

    def stop(self, partition: str, why: str) -> None:
        """A partition is not read until somebody mends what is wrong."""
        self.stopped[partition] = why
        self.unread.pop(partition, None)

    def contested(self, partition: str) -> bool:
        """Another program has taken a partition; returns whether that is news."""
        now = time.monotonic()
        before = self.contested_at.get(partition)
        self.contested_at[partition] = now
        return before is None or now - before > CONTESTED_S

    def opened(self, partition: str, error: str | None) -> None:
        """A partition was opened, or could not be."""
        if error is None:
            self.unopened.pop(partition, None)
        else:
            self.unopened[partition] = error

    def failed(self, partition: str | None, error: str) -> None:
        """A partition could not be read; without one, the load balancing failed."""
        if partition is None:
            self.balancing.failed(error)
        else:
            self.failing[partition] = error

    def lapsed(self, now: float) -> str | None:
        """Which sign of life is missing at a monotonic time, for people; None if none is."""
        if now - self.ticked_at > LAPSE_S:
            return f"its loop stands still for {LAPSE_S:g} s"
        why = self.balancing.fault or "no answer"
        if self.balancing.step_at is None:
            if now - self.started_at > START_S:
                return f"no start within {START_S:g} s ({why})"
        elif now - self.balancing.step_at > BALANCE_LAPSE_S:
            return f"no load balancing for {BALANCE_LAPSE_S:g} s ({why})"
        return self._lapsed_partition(now) or self._spinning(now)

    def _lapsed_partition(self, now: float) -> str | None:
        # Before the partitions: one that stops waiting between the two looks has called back.
        blocked = set(self.blocked)
        for partition, beat in dict(self.partitions).items():
            if now - beat > LAPSE_S and partition not in blocked:
                return f"partition {partition} did not call back for {LAPSE_S:g} s"
        for partition, rounds in dict(self.unread).items():
            if rounds > UNREAD_ROUNDS_MAX:
                why = self.failing.get(partition, "no answer")
                return f"partition {partition} is ours and not read ({why})"
        return None

    def _spinning(self, now: float) -> str | None:
        quiet_s = now - self.quiet_since
        if quiet_s > SPIN_S and self.quiet_cpu_s > SPIN_CPU * quiet_s:
            cpu = self.quiet_cpu_s / quiet_s
            return f"it used {cpu:.0%} of a core for {quiet_s:.0f} s for nothing"
        return None

    def unready(self, before: str | None) -> str | None:
        """Why hub events do not flow, for people; None if they do.

        ``before`` is why the receiver before this one ended, if there was one.
        """
        for partition, why in sorted({**self.failing, **self.unopened, **self.stopped}.items()):
            return f"partition {partition} is not read: {why}"
        now = time.monotonic()
        missing = self.balancing.unready(now, before)
        if missing is not None:
            return missing
        for partition, at in sorted(dict(self.contested_at).items()):
            if now - at <= CONTESTED_S:
                return f"another program reads the consumer group: it takes partition {partition}"
        for partition in sorted(self.balancing.owned - self.partitions.keys()):
            return f"partition {partition} is ours and not read yet"
        return None
