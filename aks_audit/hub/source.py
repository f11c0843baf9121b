"""Event Hubs events into the channel, whatever happens to the client.

A supervisor keeps one `Receiver` running. The SDK reconnects by itself after
most faults, but not after all, and then a reconnect can hang without limit in
SASL (`_pyamqp/aio/_sasl_async.py`). The receiver notices most of that by itself
and ends; the rest shows in its pulse. Then the client is closed, given up with
its thread if it does not close, and rebuilt after a backoff.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from anyio.from_thread import BlockingPortal
from azure.core.exceptions import AzureError
from azure.eventhub import CheckpointStore
from azure.eventhub.exceptions import EventHubError

from ..checkpoints.checkpointer import Checkpointer
from ..checkpoints.ledger import PartitionLedger
from ..config.settings import Config
from ..errors import Fatal, Retryable, describe
from ..model import HubEvent
from ..ops.logs import get_logger
from ..ops.metrics import ReceiverMetrics
from .handover import Handover
from .receiver import Receiver, Wiring
from .watchdog import lapsed

log = get_logger("source")

WATCH_S = 1.0
"""Between two looks at the pulse."""
CLOSE_S = 20.0
"""How long a client may take to close before its thread is given up."""
BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 15.0
"""Between two clients: doubled each time, from the first on again after a good minute. Each try
is one connection, and what waits in the hub is not seen by Falco meanwhile."""
GOOD_S = 60.0
HUNG_MAX = 3
"""So many threads may be left behind hanging before the process ends: each keeps its memory and
its sockets."""
BROKEN_MAX = 5
"""So many receivers in a row may end by a defect before the process does: what several clients
could not mend, a new process may."""


Forward = Callable[[PartitionLedger, HubEvent], Awaitable[None]]
"""async (ledger, hub event) -> None: what becomes of a hub event; waits while there is no room"""


@dataclass(frozen=True, slots=True)
class End:
    """How a receiver ended."""

    reason: str
    hung: bool = False
    """Whether its thread hangs inside the SDK, and was left behind."""
    broken: bool = False
    """Whether it ended by what no fault of the other side explains."""


class Source:
    """The receiver, its supervisor and the way from there into the channel."""

    def __init__(
        self,
        config: Config,
        store: CheckpointStore,
        checkpointer: Checkpointer,
        forward: Forward,
        metrics: ReceiverMetrics,
    ) -> None:
        self._config = config
        self._store = store
        self._checkpointer = checkpointer
        self._forward = forward
        self._metrics = metrics
        self._receiver: Receiver | None = None
        self._paused = False
        self._dispatching = trio.CancelScope()
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._problem: str | None = None

    async def run(self) -> None:
        """Receive until `close`. Raises Fatal when receivers go on hanging, or breaking."""
        backoff_s = BACKOFF_MIN_S
        hung = broken = 0
        while not self._closing.is_set():
            started = trio.current_time()
            end = await self._session()
            self._problem = end.reason
            hung += end.hung
            if self._closing.is_set():
                break
            if hung == HUNG_MAX:
                raise Fatal(f"{hung} receivers hang inside the SDK; the last: {self._problem}")
            if trio.current_time() - started > GOOD_S:
                backoff_s, broken = BACKOFF_MIN_S, 0
            broken = broken + 1 if end.broken else 0
            if broken == BROKEN_MAX:
                raise Fatal(f"{broken} receivers broke one after another; the last: {end.reason}")
            log.error("rebuilding the client", reason=self._problem, pause_s=backoff_s)
            self._metrics.restarts.inc()
            with trio.move_on_after(backoff_s):
                await self._closing.wait()
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
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
            return f"no client: {self._problem}"
        pulse = receiver.pulse
        if not pulse.balanced:
            return f"connecting: {pulse.error or self._problem or 'no answer yet'}"
        for partition, why in sorted({**pulse.failing, **pulse.unopened}.items()):
            return f"partition {partition} is not read: {why}"
        return None

    def stalled(self) -> str | None:
        """The liveness check."""
        receiver = self._receiver
        return lapsed(receiver.pulse, time.monotonic()) if receiver is not None else None

    async def _session(self) -> End:
        """One client from start to close."""
        handover = Handover()
        # The portal outlives the dispatcher: a closing client still writes checkpoints.
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
            inflight_max_bytes=self._config.inflight_max_bytes,
            start=self._checkpointer.create,
            claim=self._checkpointer.claim,
            release=self._checkpointer.release,
        )

    async def _dispatch(self, handover: Handover) -> None:
        with trio.CancelScope() as self._dispatching:
            while not self._paused:
                for ledger, events in await handover.take():
                    for event in events:
                        await self._forward(ledger, event)


async def _supervise(receiver: Receiver) -> End:
    """Run a receiver on a thread of its own until it ends or its pulse lapses."""
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
        # The SDK's defects are as good as its faults: a new client goes on where this one broke.
        log.exception("the receiver broke")
        return End(describe(error), broken=True)
    return End("the client was closed")


async def _watch(receiver: Receiver) -> str:
    """Return as soon as the receiver's pulse lapses, with what lapsed."""
    while True:
        await trio.sleep(WATCH_S)
        lapse = lapsed(receiver.pulse, time.monotonic())
        if lapse is not None:
            return lapse
