"""Keeps hub events coming, whatever happens to the client.

One `Receiver` at a time is kept running. The SDK reconnects by itself after most faults, but not
after all, and a reconnect can hang without limit in SASL (`_pyamqp/aio/_sasl_async.py`). The
receiver notices most of that by itself and ends; the rest the watchdog notices. Then the client
is closed (if it does not close, it is left behind with its thread), and after a backoff another
one is made.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from anyio.from_thread import BlockingPortal
from azure.core.exceptions import AzureError
from azure.eventhub.exceptions import EventHubError

from ..checkpoints.checkpointer import Checkpointer
from ..checkpoints.ledger import PartitionLedger
from ..checkpoints.store import Store
from ..config.settings import Config
from ..errors import Fatal, Retryable, describe
from ..model import HubEvent
from ..ops.logs import get_logger
from ..ops.metrics import ReceiverMetrics
from .handover import Handover
from .ownership import STORE_THREADS
from .receiver import Receiver
from .sdk.names import check_private_names
from .wiring import Wiring

log = get_logger("source")

WATCH_S = 1.0
"""Between two looks at the watchdog."""
CLOSE_S = 20.0
"""How long a client may take to close before its thread is left behind."""
BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 15.0
"""Between two clients, in seconds: doubled each time, and the minimum again after a client that ran
for `GOOD_S`. Each try is one connection, and Falco does not see what waits in the hub meanwhile."""
GOOD_S = 60.0
HUNG_MAX = 3
"""So many threads may be left behind hanging before the process ends: each keeps its memory and
its sockets."""
BROKEN_MAX = 5
"""So many receivers in a row may end by a defect before the process ends: a new process may mend
what new clients could not."""


Forward = Callable[[PartitionLedger, HubEvent], Awaitable[None]]
"""async (ledger, hub event) -> None: what becomes of a hub event; waits while there is no room"""


@dataclass(frozen=True, slots=True)
class End:
    """How a receiver ended."""

    reason: str
    hung: bool = False
    """Whether its thread hangs inside the SDK, and was left behind."""
    broken: bool = False
    """Whether it ended by an error that no fault of the other side explains."""


class _Ends:
    """How the receivers ended so far, and what follows from it."""

    def __init__(self) -> None:
        self._backoff_s = BACKOFF_MIN_S
        self._hung = self._broken = 0

    def pause_s(self, end: End, lasted_s: float) -> float:
        """Seconds before the next receiver. Raises Fatal where there should be none."""
        self._hung += end.hung
        if self._hung == HUNG_MAX:
            raise Fatal(f"{HUNG_MAX} receivers hang inside the SDK; the last: {end.reason}")
        if lasted_s > GOOD_S:
            self._backoff_s, self._broken = BACKOFF_MIN_S, 0
        self._broken = self._broken + 1 if end.broken else 0
        if self._broken == BROKEN_MAX:
            raise Fatal(f"{BROKEN_MAX} receivers broke one after another; the last: {end.reason}")
        pause_s, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, BACKOFF_MAX_S)
        return pause_s


class Source:
    """Keeps one receiver running, and hands on what it brings.

    Args:
        config: With the hub, and the bytes in flight.
        store: For the SDK's load balancing and start positions.
        checkpointer: Creates, claims and releases the checkpoints of partitions.
        forward: Takes each hub event; waits while there is no room.
        metrics: Counts the clients that were rebuilt.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        checkpointer: Checkpointer,
        forward: Forward,
        metrics: ReceiverMetrics,
    ) -> None:
        self._config = config
        self._store = store
        self._checkpointer = checkpointer
        self._forward = forward
        self._metrics = metrics
        self._store_threads = trio.CapacityLimiter(STORE_THREADS)
        self._receiver: Receiver | None = None
        self._paused = False
        self._dispatching = trio.CancelScope()
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._problem: str | None = None
        self._suspects: set[str] = set()
        """Partitions whose stream may not be the one that their checkpoint was made for."""

    async def run(self) -> None:
        """Receive until `close`.

        Raises:
            Fatal: Receivers go on hanging or breaking, or the SDK is not the one that is pinned.
        """
        check_private_names()
        ends = _Ends()
        while not self._closing.is_set():
            started = trio.current_time()
            end = await self._session()
            self._problem = end.reason
            if self._closing.is_set():
                break
            pause_s = ends.pause_s(end, trio.current_time() - started)
            log.error("rebuilding the client", reason=end.reason, pause_s=pause_s)
            self._metrics.restarts.inc()
            with trio.move_on_after(pause_s):
                await self._closing.wait()
        self._closed.set()

    def pause(self) -> None:
        """Take nothing more from the SDK: its callbacks wait from now on."""
        self._paused = True
        self._dispatching.cancel()

    async def close(self) -> None:
        """Close the client and release the partitions; returns when that is done."""
        self._closing.set()
        if self._receiver is not None:
            self._receiver.stop()
        await self._closed.wait()

    def ready(self) -> str | None:
        """The readiness check."""
        receiver = self._receiver
        if receiver is None:
            return f"no client: {self._problem or 'not started yet'}"
        return receiver.watchdog.unready(self._problem)

    def stalled(self) -> str | None:
        """The liveness check."""
        receiver = self._receiver
        return None if receiver is None else receiver.watchdog.lapsed(time.monotonic())

    def partitions_owned(self) -> int:
        """How many partitions are ours, as far as the last round of load balancing knows."""
        receiver = self._receiver
        return 0 if receiver is None else len(receiver.watchdog.balancing.owned)

    def partitions_unowned(self) -> int:
        """How many partitions nobody owns, as far as the last round of load balancing knows."""
        receiver = self._receiver
        return 0 if receiver is None else len(receiver.watchdog.balancing.unowned)

    async def _session(self) -> End:
        """One client from start to close."""
        handover = Handover()
        # The portal ends after the dispatcher: a client that closes still writes checkpoints.
        async with BlockingPortal() as portal, trio.open_nursery() as nursery:
            receiver = self._receiver = Receiver(self._config.hub, self._wiring(portal, handover))
            nursery.start_soon(self._dispatch, handover)
            end = await _supervise(receiver)
            self._receiver = None
            nursery.cancel_scope.cancel()
        return end

    def _wiring(self, portal: BlockingPortal, handover: Handover) -> Wiring:
        return Wiring(
            portal=portal,
            handover=handover,
            store=self._store,
            store_threads=self._store_threads,
            inflight_max_bytes=self._config.inflight_max_bytes,
            start=self._checkpointer.create,
            restart=self._checkpointer.restart,
            claim=self._checkpointer.claim,
            release=self._checkpointer.release,
            contested=lambda partition: self._metrics.contested.labels(partition).inc(),
            suspects=self._suspects,
        )

    async def _dispatch(self, handover: Handover) -> None:
        with trio.CancelScope() as self._dispatching:
            while not self._paused:
                for ledger, events in await handover.take():
                    for event in events:
                        await self._forward(ledger, event)


async def _supervise(receiver: Receiver) -> End:
    """Run a receiver on a thread of its own until it ends, or a sign of life lapses."""
    ended: list[End] = []

    async def on_thread() -> None:
        ended.append(await _run_on_thread(receiver))
        watching.cancel_scope.cancel()

    async with trio.open_nursery() as watching:
        watching.start_soon(on_thread)
        lapse = await _watch(receiver)
        log.error("the receiver is stalled, closing it", reason=lapse)
        receiver.stop()
        await trio.sleep(CLOSE_S)
        ended.append(End(f"{lapse}; its thread did not end within {CLOSE_S:g} s", hung=True))
        watching.cancel_scope.cancel()
    return ended[0]


async def _run_on_thread(receiver: Receiver) -> End:
    try:
        await trio.to_thread.run_sync(receiver.run, abandon_on_cancel=True)
    except (EventHubError, AzureError, OSError, Retryable) as error:
        return End(describe(error))
    except Exception as error:
        # A defect of the SDK ends its client as a fault does: a new one goes on where it broke.
        log.exception("the receiver broke")
        return End(describe(error), broken=True)
    return End("the client was closed")


async def _watch(receiver: Receiver) -> str:
    """Return as soon as a sign of life lapses, with what lapsed."""
    while True:
        await trio.sleep(WATCH_S)
        lapse = receiver.watchdog.lapsed(time.monotonic())
        if lapse is not None:
            return lapse
