"""Reads one partition: events as they come, and credit for more as soon as these are handed over.

It takes the place of the SDK's loop, which `sdk.patches.read_with` explains. One task waits on the
socket, takes what has come, hands it over and only then reads on. So what is in memory while nobody
takes it is one batch, whatever the hub was allowed to send: the rest waits in the socket and in the
hub.
"""

import asyncio
import time
from collections.abc import Callable

from azure.eventhub import EventData

from .credit import QUIET_S, CreditPool
from .sdk.conversion import size_of
from .sdk.link import PartitionLink

OPENING_S = 60.0
"""How long the opening of a partition may take: the SDK gives authentication 60 s."""
OPENING_PAUSE_S = 1.0
"""Between two attempts to open a partition."""
EMPTY_CALLBACK_S = QUIET_S
"""Without events the callback is called after this long: the partition's heartbeat."""
CANCEL_S = 0.1
CANCELS_MAX = 10
"""An opening that is given up is cancelled so often, with so many seconds in between."""
RETRIES_MAX = 3
"""Links that may fail one after another, having been open, until the claim is given up; the SDK's
own number."""
KEEP_ALIVE_S = 10.0
"""While a callback waits: the hub closes a connection on which nothing comes for minutes."""

OpeningObserver = Callable[[str, Exception | None], None]
"""(partition, why it cannot be opened, or None when it is open)"""


class Reader:
    """One partition, from its claim to its close.

    Args:
        link: The SDK's.
        pool: Where its credit is taken from.
        batch_bytes: Bytes that are handed over at a time; one message may pass the bound.
        observer: Is told how each opening went.
    """

    def __init__(
        self, link: PartitionLink, pool: CreditPool, batch_bytes: int, observer: OpeningObserver
    ) -> None:
        self._link = link
        self._share = pool.open(time.monotonic())
        self._batch_bytes = batch_bytes
        self._observer = observer
        self._events: list[EventData] = []
        self._bytes = 0
        """What they measure."""
        self._failures = 0
        """Of links that had been open, since the last event."""
        self._calling = False
        """Whether a callback is under way, and nobody reads."""

    async def run(self) -> None:
        """Read until it is cancelled.

        Raises:
            EventHubError: As the SDK's own loop: another reader has the partition, or the link
                failed again and again.
            Exception: What the callback raises.
        """
        keeping_alive = asyncio.create_task(self._keep_alive())
        try:
            while True:
                await self._turn()
        finally:
            self._share.close()
            keeping_alive.cancel()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            if self._calling:
                await self._link.keep_alive()

    async def _turn(self) -> None:
        """Wait for events, or for `EMPTY_CALLBACK_S`, and hand over what came."""
        fault = await self._opening() if not self._link.is_open else None
        if fault is None:
            try:
                await self._gather()
            except Exception as error:  # noqa: BLE001 - the SDK raises anything; `_mend` closes the link, and raises what stays
                fault = error
        await self._hand_over()
        if fault is not None:
            await self._mend(fault)

    async def _opening(self) -> Exception | None:
        """Open the link, and give signs of life meanwhile; returns why it cannot be opened."""
        opening = asyncio.create_task(self._link.open())
        until = time.monotonic() + OPENING_S
        try:
            while not opening.done() and time.monotonic() < until:
                await asyncio.wait({opening}, timeout=EMPTY_CALLBACK_S)
                if not opening.done():
                    await self._link.call_back([])
        finally:
            await _cancelled(opening)
        if not opening.done() or opening.cancelled():
            return TimeoutError(f"not open within {OPENING_S:g} s")
        error = opening.exception()
        if isinstance(error, Exception):
            return error
        self._observer(self._link.partition, None)
        return None

    async def _gather(self) -> None:
        """Give credit, wait for the first event, and take those that are there with it."""
        until = time.monotonic() + EMPTY_CALLBACK_S
        while not self._events:
            left_s = until - time.monotonic()
            if left_s <= 0:
                await self._flow(self._share.quiet(time.monotonic()))
                return
            if await self._link.ready():
                await self._flow(self._share.grant(time.monotonic()))
                await self._listen(left_s)
        while self._bytes < self._batch_bytes and self._link.has_frame():
            await self._listen(EMPTY_CALLBACK_S)

    async def _flow(self, credit: int) -> None:
        if credit != self._link.credit:
            await self._link.grant(credit)

    async def _listen(self, wait_s: float) -> None:
        """Read a frame, and take the event that is whole with it."""
        try:
            await self._link.listen(wait_s)
        finally:
            for event in self._link.take():
                size = size_of(event)
                self._share.arrived(size)
                self._events.append(event)
                self._bytes += size

    async def _hand_over(self) -> None:
        events, self._events, self._bytes = self._events, [], 0
        if events:
            self._failures = 0
        self._calling = True
        await self._link.call_back(events)
        self._calling = False
        self._share.handed_over()

    async def _mend(self, fault: Exception) -> None:
        """Close what is broken; raises where the SDK's own loop would give up."""
        if not self._link.is_open and not self._link.is_final(fault):
            self._observer(self._link.partition, fault)
            await asyncio.sleep(OPENING_PAUSE_S)
            return
        if isinstance(fault, ImportError):
            raise fault
        self._share.lost()
        failure = await self._link.shut(fault)
        self._failures += 1
        if self._link.is_final(fault) or self._failures > RETRIES_MAX:
            raise failure


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, but not for ever.

    In Python 3.11 `asyncio.wait_for`, on which the SDK waits for each frame, may swallow a
    cancellation that comes together with the frame.
    """
    for _ in range(CANCELS_MAX):
        if task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_S)
