"""The one thread bridge: the SDK's thread on one side, trio on the other.

azure-eventhub speaks asyncio, we speak trio, so the SDK has a thread of its own.
Two kinds of traffic cross over:

- hub events, by the thousand: `Handover`, a bounded queue that wakes the other side once
  for however much has gathered. (With a task in the other loop for each message, as a
  portal makes it, the crossing costs more than all the rest of our work.)
- the rare call (a store's operation, a claim): anyio's BlockingPortal, by `on_trio`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import trio
from anyio.from_thread import BlockingPortal

from ..checkpoints.ledger import PartitionLedger
from ..model import HubEvent

HANDOVER_MAX_BYTES = 1024 * 1024
"""Bytes that may wait between the threads: enough to keep trio busy for milliseconds. A
callback that finds more waiting holds its own batch until trio has taken them."""

TURN_S = 0.005
"""How long what waits may be taken on end before the senders and the probes have their turn: a
round of trio's loop costs as much as some five audit events."""

T = TypeVar("T")

Delivery = tuple[PartitionLedger, Sequence[HubEvent]]
"""Hub events of one partition, in order, with the ledger of the claim they came under."""


class Handover:
    """Hub events on their way from the SDK's thread to trio.

    Made on trio's thread. `put` is for the SDK's thread, `take` for one task of trio; what both
    touch is guarded by a lock, which is held for a few instructions only.

    Args:
        max_bytes: Bodies that may wait; one delivery may pass the bound.
    """

    def __init__(self, max_bytes: int = HANDOVER_MAX_BYTES) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: list[Delivery] = []
        self._bytes = 0
        self._blocked: list[asyncio.Future[None]] = []
        """A future for each callback that waits for room."""
        self._filled = trio.Event()
        self._asleep = False
        """Whether `take` waits, and has to be woken."""
        self._turn_ends = 0.0

    async def put(self, delivery: Delivery) -> None:
        """On the SDK's thread: hand over, as soon as less than ``max_bytes`` waits.

        Args:
            delivery: Hub events of one partition. They are taken in the order of the calls.
        """
        loop = asyncio.get_running_loop()
        size = sum(len(event.body) for event in delivery[1])
        wake = False
        while True:
            with self._lock:
                if self._bytes < self._max_bytes:
                    self._waiting.append(delivery)
                    self._bytes += size
                    wake, self._asleep = self._asleep, False
                    break
                room = loop.create_future()
                self._blocked.append(room)
            await room
        if wake:
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._filled.set()

    async def take(self) -> list[Delivery]:
        """On trio: take all the hub events there are; wait where there are none.

        Returns:
            One delivery at least, in the order in which they were put.
        """
        if trio.current_time() >= self._turn_ends:
            await trio.lowlevel.checkpoint()
            self._turn_ends = trio.current_time() + TURN_S
        while True:
            self._filled = trio.Event()
            with self._lock:
                deliveries, self._waiting = self._waiting, []
                blocked, self._blocked = self._blocked, []
                self._bytes = 0
                self._asleep = not deliveries
            for room in blocked:
                _resolve(room)
            if deliveries:
                return deliveries
            await self._filled.wait()


def _resolve(room: asyncio.Future[None]) -> None:
    """Let a callback go on, in its own loop."""

    def resolve() -> None:
        if not room.done():
            room.set_result(None)

    with suppress(RuntimeError):  # the loop has ended, and the callback with it
        room.get_loop().call_soon_threadsafe(resolve)


async def on_trio(
    portal: BlockingPortal, function: Callable[..., Awaitable[T]], *args: object
) -> T:
    """On the SDK's thread: have trio run a function; returns or raises what it does."""
    return await asyncio.wrap_future(portal.start_task_soon(function, *args))
