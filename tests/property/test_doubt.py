"""An endpoint that answers first, queues, and breaks at random: nothing is lost.

A model of Falco: a queue of some bodies and one worker; with each break the queue is lost. The real
senders post to it over connections that notice a break as real ones do.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from aks_audit.delivery import sender
from aks_audit.delivery.sender import run_pool
from aks_audit.errors import Broken
from tests.helpers import ScriptedWebhook, examples, make_destination, make_items, sink_config

QUEUE = 4
SPEED = 50.0
"""Events a second; the quiet time is long enough for a full queue at this speed."""
QUIET_S = (QUEUE + 2) * 10 / SPEED
Events = Sequence[dict[str, Any]]


class Falco:
    """What is queued, and what came out of the queue."""

    def __init__(self) -> None:
        self.life = 0
        self.up = True
        self.processed: set[str] = set()
        self.queue: deque[Events] = deque()
        self.free_at = 0.0
        self.changed = trio.Condition()

    async def work(self) -> None:
        while True:
            async with self.changed:
                while not self.queue:
                    await self.changed.wait()
                body, life = self.queue[0], self.life
            await trio.sleep(len(body) / SPEED)
            async with self.changed:
                if life == self.life:  # else it was lost with the others
                    self.queue.popleft()
                    self.processed.update(event["auditID"] for event in body)
                self.changed.notify_all()

    async def stop(self, away_s: float) -> None:
        """End as on SIGTERM: whoever waits is answered, and all is dropped."""
        async with self.changed:
            self.life += 1
            self.up = False
            self.queue.clear()
            self.changed.notify_all()
        await trio.sleep(away_s)
        self.up = True

    async def take(self, body: Events) -> None:
        life = self.life
        async with self.changed:
            while len(self.queue) > QUEUE and life == self.life:  # one is at the worker
                await self.changed.wait()
            if life == self.life:
                self.queue.append(body)
                self.changed.notify_all()


class Connection(ScriptedWebhook):
    """A connection to one life of the endpoint."""

    def __init__(self, falco: Falco) -> None:
        super().__init__(self.take)
        self._falco = falco
        self._life: int | None = None

    async def take(self, body: Events) -> None:
        falco = self._falco
        life, self._life = self._life, None
        if not falco.up or life not in {None, falco.life}:
            raise Broken("refused, or reset")
        life = falco.life
        await falco.take(body)
        self._life = life

    def lost(self) -> bool:
        gone = self._life is not None and self._life != self._falco.life
        if gone:
            self._life = None
        return gone


pauses = st.floats(0, 3)


@examples(150)
@given(
    bursts=st.lists(st.tuples(st.integers(1, 60), pauses), min_size=1, max_size=8),
    breaks=st.lists(st.tuples(pauses, st.floats(0.01, 2)), max_size=5),
    concurrency=st.integers(1, 4),
    size=st.integers(1, 10),
)
async def test_whatever_breaks_when_all_is_processed_before_it_is_done(
    bursts: list[tuple[int, float]],
    breaks: list[tuple[float, float]],
    concurrency: int,
    size: int,
    autojump_clock: MockClock,
) -> None:
    falco = Falco()
    config = sink_config(
        concurrency=concurrency,
        batch_max_events=size,
        indoubt_bodies=QUEUE + 1,
        indoubt_s=QUIET_S,
        retry_delay_s=0.1,
    )
    setup = make_destination(config)
    items, ledger = make_items(sum(count for count, _ in bursts))
    done_too_early: list[str] = []
    settle = setup.in_flight.settle

    def watched(items: Any, outcome: Any) -> None:
        ids = {item.event.audit_id for item in items}
        done_too_early.extend(ids - falco.processed)
        settle(items, outcome)

    @asynccontextmanager
    async def open_webhook(*_: object) -> Any:
        yield Connection(falco)

    setup.in_flight.settle = watched  # type: ignore[method-assign]
    with patch.object(sender, "open_webhook", open_webhook), trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_pool, setup.destination)
            nursery.start_soon(falco.work)
            nursery.start_soon(break_it, falco, breaks)
            rest = items
            for count, pause in bursts:
                setup.channel.put(rest[:count])
                rest = rest[count:]
                await trio.sleep(pause)
            await setup.in_flight.drained()
            nursery.cancel_scope.cancel()
    assert not done_too_early
    assert ledger.done == items[-1].ticket.position
    assert falco.processed == {item.event.audit_id for item in items}
    assert setup.destination.doubt.events == 0
    assert setup.letters.letters == []  # a healthy event never becomes one


async def break_it(falco: Falco, breaks: list[tuple[float, float]]) -> None:
    for pause, away_s in breaks:
        await trio.sleep(pause)
        await falco.stop(away_s)
