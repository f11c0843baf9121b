"""What the receiver shows of itself, and how its death, its hanging and its spinning show.

A receiver cannot be asked whether it is well: the SDK's consumers are known to
stop silently (azure-sdk-for-python #42332, #30931). So each of its parts leaves
a mark when it runs, and a mark that is missing for too long is a lapse. Pure,
but for the monotonic clock in which the marks are made.
"""

import time

BALANCE_S = 10.0
"""Between two rounds of load balancing. The SDK's 30 s is also how long a partition rests
after an error; ownership lasts for six rounds."""
START_S = 60.0
"""How long a new client may take to its first round of load balancing: the SDK gives
authentication 60 s."""
LAPSE_S = 30.0
"""How long the thread's loop may stand still, and a partition be without a callback; both are
to show a sign of life every second."""
BALANCE_LAPSE_S = 6 * BALANCE_S
"""How long load balancing may stand still: after that ownership is lost anyway."""
UNREAD_ROUNDS_MAX = 4
"""So many rounds of load balancing a partition may be owned without being read: it takes one to
begin, and one more after each failure to."""
SPIN_S = 60.0
SPIN_CPU = 0.9
"""Using this much of a core for this long without a single hub event is no work: of 32 quiet
partitions each wakes 40 times a second, for 4 % of a core in all (measured)."""


class Pulse:
    """What the receiver shows of itself; written on its thread, read on trio's."""

    def __init__(self) -> None:
        self.started_at = self.ticked_at = self.quiet_since = time.monotonic()
        """`ticked_at`: when the thread's loop last turned. `quiet_since`: when hub events last
        came, or their callback last waited for room."""
        self.quiet_cpu_s = 0.0
        """CPU seconds that the thread has used since then."""
        self.round_at: float | None = None
        """Monotonic time at which the last round of load balancing began."""
        self.balanced = False
        """Whether a round of load balancing has worked yet: the hub and the store answer."""
        self.partitions: dict[str, float] = {}
        """When each partition that is read last called back (monotonic time)."""
        self.blocked: set[str] = set()
        """Partitions whose callback waits for room: they owe no heartbeat."""
        self.unread: dict[str, int] = {}
        """For how many rounds of load balancing a partition has been ours and is not read."""
        self.failing: dict[str, str] = {}
        """Why a partition of ours could not be read last, until it calls back."""
        self.unopened: dict[str, str] = {}
        """Why a partition of ours cannot be opened, until it can: it calls back all the same."""
        self.error: str | None = None
        """What went wrong last, until a round of load balancing works again."""
        self._quiet_cpu_from: float | None = None

    def ticked(self, cpu_s: float) -> None:
        """The loop turns; its thread has used so many CPU seconds since it began."""
        self.ticked_at = now = time.monotonic()
        if self._quiet_cpu_from is None or self.blocked:
            self._quiet_cpu_from, self.quiet_since = cpu_s, now
        self.quiet_cpu_s = cpu_s - self._quiet_cpu_from

    def round_began(self) -> None:
        """A round of load balancing begins."""
        self.round_at = time.monotonic()

    def round_worked(self) -> None:
        """A round of load balancing works: the store has answered."""
        self.balanced, self.error = True, None

    def owns(self, partitions: set[str]) -> None:
        """A round of load balancing ends: these partitions are ours."""
        self.unread = {
            partition: self.unread.get(partition, 0) + 1
            for partition in partitions - self.partitions.keys()
        }
        for why in (self.failing, self.unopened):
            for partition in why.keys() - partitions:
                del why[partition]

    def claimed(self, partition: str) -> None:
        """A partition is about to be read."""
        self.partitions[partition] = time.monotonic()
        self.unread.pop(partition, None)

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

    def opened(self, partition: str, error: str | None) -> None:
        """A partition was opened, or could not be."""
        if error is None:
            self.unopened.pop(partition, None)
        else:
            self.unopened[partition] = error

    def failed(self, partition: str | None, error: str) -> None:
        """A partition could not be read; without one, the load balancing failed."""
        self.error = error
        if partition is not None:
            self.failing[partition] = error


def lapsed(pulse: Pulse, now: float) -> str | None:
    """What of a receiver shows no sign of life, at a monotonic time; None when all does."""
    if now - pulse.ticked_at > LAPSE_S:
        return f"its loop stands still for {LAPSE_S:g} s"
    if pulse.round_at is None:
        if now - pulse.started_at > START_S:
            return f"no start within {START_S:g} s ({pulse.error or 'no answer'})"
    elif now - pulse.round_at > BALANCE_LAPSE_S:
        return f"no load balancing for {BALANCE_LAPSE_S:g} s ({pulse.error or 'no answer'})"
    return _lapsed_partition(pulse, now) or _spinning(pulse, now)


def _lapsed_partition(pulse: Pulse, now: float) -> str | None:
    for partition, beat in list(pulse.partitions.items()):
        if now - beat > LAPSE_S and partition not in pulse.blocked:
            return f"partition {partition} did not call back for {LAPSE_S:g} s"
    for partition, rounds in list(pulse.unread.items()):
        if rounds > UNREAD_ROUNDS_MAX:
            why = pulse.failing.get(partition, "no answer")
            return f"partition {partition} is ours and not read ({why})"
    return None


def _spinning(pulse: Pulse, now: float) -> str | None:
    quiet_s = now - pulse.quiet_since
    if quiet_s > SPIN_S and pulse.quiet_cpu_s > SPIN_CPU * quiet_s:
        return (
            f"it used {pulse.quiet_cpu_s / quiet_s:.0%} of a core for {quiet_s:.0f} s for nothing"
        )
    return None
