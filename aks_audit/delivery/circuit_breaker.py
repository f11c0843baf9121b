"""Whether the endpoint takes events, and who may try while it does not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ..ops.logs import get_logger
from ..ops.metrics import PostMetrics

log = get_logger("sink")


class Gate:
    """Whether the endpoint takes events; while it does not, one sender at a time tries.

    With all senders trying, an endpoint that comes back would first meet a
    burst, and one that times out (and may have taken what it was sent) would
    be sent the same events again by each of them.
    """

    def __init__(self, metrics: PostMetrics) -> None:
        self._metrics = metrics
        self._probing = trio.Lock()
        self.held_because: str | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to post: at once while the endpoint is well, else one at a time."""
        if self.held_because is not None:
            async with self._probing:
                if self.held_because is not None:
                    yield
                    return
        yield

    def hold(self, reason: str) -> None:
        """Note that the endpoint is away, and why."""
        if self.held_because is None:
            log.error("holding events until the endpoint is back", reason=reason)
            self._metrics.holding.inc()
        self.held_because = reason

    def release(self) -> None:
        """Note that the endpoint took events."""
        if self.held_because is not None:
            log.info("the endpoint is back", was=self.held_because)
            self._metrics.holding.dec()
        self.held_because = None

    def ready(self) -> str | None:
        """The readiness check."""
        if self.held_because is None:
            return None
        return f"events are held, the endpoint does not take them: {self.held_because}"
