"""Whether the endpoint takes events, and who may try while it does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ..ops.logs import get_logger
from ..ops.metrics import PostMetrics

log = get_logger("sink")


class CircuitBreaker:
    """Closed while the endpoint takes events; while it is open, one sender at a time tries.

    With all senders trying, an endpoint that comes back would first meet a burst. One that
    times out may have taken what it was sent, and each of the senders would send it the
    same events again.
    """

    def __init__(self, metrics: PostMetrics) -> None:
        self._metrics = metrics
        self._probing = trio.Lock()
        self.open_because: str | None = None
        """What the endpoint did last, while it is away."""

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is away."""
        return self.open_because is not None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to post: at once while the circuit is closed, else one task at a time."""
        if self.is_open:
            async with self._probing:
                if self.is_open:
                    yield
                    return
        yield

    def open(self, reason: str) -> None:
        """Note that the endpoint is away, and why."""
        if not self.is_open:
            log.error("holding events until the endpoint is back", reason=reason)
            self._metrics.holding.inc()
        self.open_because = reason

    def close(self) -> None:
        """Note that the endpoint took events, or answered as a healthy one does."""
        if self.is_open:
            log.info("the endpoint is back", was=self.open_because)
            self._metrics.holding.dec()
        self.open_because = None

    def ready(self) -> str | None:
        """The readiness check."""
        if not self.is_open:
            return None
        return f"events are held, the endpoint does not take them: {self.open_because}"
