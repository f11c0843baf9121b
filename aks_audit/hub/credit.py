"""How many hub events each partition may send us, so that their bytes stay within a bound. Pure.

AMQP's credit counts messages, and memory counts bytes. And where the traffic is, changes: of 256
partitions one may have all of it. So the bytes are one pool. A quiet partition holds credit for one
message, which costs it a round trip when traffic begins. A busy one doubles its window for as long
as it uses it up, and gets what the others leave.

The pool counts messages that may still come at the size of those that came before. If all of them
measured 1 MB at once, up to `CREDIT_MAX` for each busy partition, they would wait in the sockets:
the process reads no more of a partition than one batch (`CreditPool.batch_bytes`, or one message)
before it is handed over. With 32 partitions and INFLIGHTMAXBYTES at 64 MiB that is 1 MB of each,
which the SDK and we hold a copy of, and some 128 KB in asyncio's buffer.
"""

TYPICAL_BYTES = 256 * 1024
"""What a message is taken to measure until the first ones have come. AKS sends some 32 KB."""
CREDIT_MAX = 300
"""Messages of one partition, at most: the SDK's own default."""
BUSY_S = 0.5
"""A partition that uses up half its window in less than this gets twice the window."""
QUIET_S = 1.0
"""A partition that needs longer than this for it gets half the window; one to which nothing comes
for so long gives back all but one message."""
FORGETTING = 8
"""The estimate of a size falls by this part of the difference with each smaller message, and rises
to a larger one at once."""


class CreditPool:
    """The bytes that the partitions of one client share.

    Args:
        max_bytes: The sum over all partitions of the messages they may still send and of those
            that are not yet handed over. It is passed by no more than one message for each
            partition, which each may always send, and by messages that are larger than those
            before them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.reserved_bytes = 0
        """What the credit of all partitions, and what came under it, is taken to measure."""
        self.size_bytes = float(TYPICAL_BYTES)
        """What a message of any partition is taken to measure."""
        self.members = 0
        self.busy = 0
        """Partitions with a window of more than one message."""

    def open(self, now: float) -> "Share":
        """A partition begins to be read, at a monotonic time in seconds."""
        return Share(self, now)

    def free_bytes(self) -> int:
        """What is not reserved; less than nothing where messages were larger than expected."""
        return self._max_bytes - self.reserved_bytes

    def fair_bytes(self) -> float:
        """What a busy partition may have when all busy ones have the same."""
        quiet = self.members - self.busy
        return (self._max_bytes - quiet * self.size_bytes) / max(1, self.busy)

    def batch_bytes(self, partitions: int) -> int:
        """How many bytes a partition may gather before it hands them over.

        Args:
            partitions: Of the hub: all of them may become ours, and wait for room at a time.
        """
        return self._max_bytes // 2 // max(1, partitions)


class Share:
    """What one partition has of the pool, while it is read. Times are monotonic, in seconds."""

    def __init__(self, pool: CreditPool, now: float) -> None:
        self._pool = pool
        self._granted_at = now
        self._window = 1
        self._credit = self._granted = 0
        self._held_bytes = 0
        self._size_bytes = pool.size_bytes
        self._reserved_bytes = 0
        pool.members += 1

    @property
    def credit(self) -> int:
        """How many messages the partition may still send."""
        return self._credit

    def arrived(self, size: int) -> None:
        """A message of so many bytes came; it is held until `handed_over`."""
        self._credit = max(0, self._credit - 1)
        self._held_bytes += size
        self._size_bytes = _follow(self._size_bytes, size)
        self._pool.size_bytes = _follow(self._pool.size_bytes, size)
        self._reserve()

    def handed_over(self) -> None:
        """What came is no longer held."""
        self._held_bytes = 0
        self._reserve()

    def grant(self, now: float) -> int:
        """How many messages the partition may send from now on; reserves their bytes.

        It grows only once half of what was granted last is used up: each change is a frame to
        the hub. It never falls: what was granted to a busy partition is used up soon.
        """
        if 2 * self._credit > self._granted:
            return self._credit
        if self._granted:
            self._adapt(now - self._granted_at)
        self._granted_at = now
        within = self._credit + self._pool.free_bytes() // self._size_bytes
        fair = self._pool.fair_bytes() // self._size_bytes
        self._granted = self._credit = max(1, self._credit, int(min(self._window, within, fair)))
        self._reserve()
        return self._credit

    def quiet(self, now: float) -> int:
        """Nothing came for `QUIET_S`: give back all but one message.

        A quiet partition is taken to get messages like the other partitions.
        """
        self._resize(1)
        self._granted_at = now
        self._granted = self._credit = min(self._credit, 1)
        self._size_bytes = self._pool.size_bytes
        self._reserve()
        return self._credit

    def lost(self) -> None:
        """The link is gone, and its credit with it."""
        self._credit = self._granted = 0
        self._reserve()

    def close(self) -> None:
        """The partition is no longer read."""
        self._resize(1)
        self._credit = self._held_bytes = 0
        self._reserve()
        self._pool.members -= 1

    def _adapt(self, took_s: float) -> None:
        """Fit the window to the time in which half of it was used up."""
        if took_s < BUSY_S:
            self._resize(min(2 * self._window, CREDIT_MAX))
        elif took_s > QUIET_S:
            self._resize(max(self._window // 2, 1))

    def _resize(self, window: int) -> None:
        self._pool.busy += (window > 1) - (self._window > 1)
        self._window = window

    def _reserve(self) -> None:
        reserved = int(self._credit * self._size_bytes) + self._held_bytes
        self._pool.reserved_bytes += reserved - self._reserved_bytes
        self._reserved_bytes = reserved


def _follow(estimate: float, size: int) -> float:
    """An estimate that is hardly ever too small: up at once, down step by step."""
    return size if size > estimate else estimate - (estimate - size) / FORGETTING
