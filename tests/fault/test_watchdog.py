"""What dies, hangs, spins or stalls is named, replaced, and in the end takes the process along."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from aks_audit.checkpoints.checkpointer import WRITERS, Checkpointer
from aks_audit.checkpoints.ledger import Ledger
from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.checkpoints.store import Key
from aks_audit.config.load import load
from aks_audit.delivery.sender import Sender
from aks_audit.errors import Fatal
from aks_audit.hub import source
from aks_audit.hub.balancing import BALANCE_LAPSE_S
from aks_audit.hub.source import BROKEN_MAX, CLOSE_S, HUNG_MAX, Source
from aks_audit.hub.watchdog import (
    LAPSE_S,
    SPIN_S,
    START_S,
    UNREAD_ROUNDS_MAX,
    Watchdog,
)
from aks_audit.model import START_OF_STREAM, HubEvent, Position
from aks_audit.ops.health import Health
from aks_audit.ops.metrics import Metrics
from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report
from tests.helpers import (
    ENVIRONMENT,
    ScriptedWebhook,
    capture,
    make_destination,
    make_items,
    sink_config,
)


def well(now: float) -> Watchdog:
    """A watchdog of a receiver of which all is well at a time."""
    watchdog = Watchdog()
    watchdog.started_at = watchdog.ticked_at = watchdog.quiet_since = now
    watchdog.balancing.step_at = now
    watchdog.partitions = {"0": now, "1": now}
    return watchdog


def test_a_receiver_that_is_well_does_not_lapse() -> None:
    assert well(1000.0).lapsed(1000.0 + LAPSE_S) is None


def test_a_loop_that_stands_still_lapses() -> None:
    assert "its loop stands still" in str(well(1000.0).lapsed(1001.0 + LAPSE_S))


def ticking(now: float) -> Watchdog:
    watchdog = well(1000.0)
    watchdog.ticked_at = now
    watchdog.partitions = dict.fromkeys(watchdog.partitions, now)
    return watchdog


def test_a_start_that_takes_too_long_lapses_with_its_reason() -> None:
    now = 1001.0 + START_S
    watchdog = ticking(now)
    watchdog.balancing.step_at = None
    watchdog.failed(None, "AuthenticationError: no")
    assert watchdog.lapsed(now - 2) is None
    assert "no start within 60 s (AuthenticationError: no)" in str(watchdog.lapsed(now))


def test_load_balancing_that_stands_still_lapses() -> None:
    now = 1001.0 + BALANCE_LAPSE_S
    assert "no load balancing" in str(ticking(now).lapsed(now))


def test_a_partition_that_does_not_call_back_lapses_unless_it_waits_for_room() -> None:
    watchdog = well(1000.0)
    watchdog.ticked_at = watchdog.partitions["0"] = now = 1001.0 + LAPSE_S
    assert "partition 1 did not call back" in str(watchdog.lapsed(now))
    watchdog.blocked.add("1")
    assert watchdog.lapsed(now) is None


def test_a_partition_that_is_owned_and_never_read_lapses() -> None:
    watchdog = Watchdog()
    watchdog.balancing.step()
    for _ in range(UNREAD_ROUNDS_MAX):
        watchdog.owns({"0", "1"})
        watchdog.claimed("0")
    assert watchdog.lapsed(time.monotonic()) is None
    watchdog.failed("1", "no such checkpoint")
    watchdog.owns({"0", "1"})
    assert "partition 1 is ours and not read (no such checkpoint)" in str(
        watchdog.lapsed(time.monotonic())
    )
    watchdog.owns({"0"})
    assert watchdog.lapsed(time.monotonic()) is None
    assert not watchdog.failing


def test_a_core_used_up_without_events_lapses() -> None:
    watchdog = Watchdog()
    watchdog.ticked(5.0)
    start = watchdog.quiet_since
    later = start + SPIN_S + 1
    watchdog.ticked(5.0 + SPIN_S)
    assert "of a core" in str(_spins(watchdog, later))
    watchdog.called_back("0", events=3)
    watchdog.ticked(5.0 + SPIN_S)
    assert _spins(watchdog, later) is None


def _spins(watchdog: Watchdog, now: float) -> str | None:
    watchdog.ticked_at = watchdog.balancing.step_at = now
    watchdog.partitions.clear()
    return watchdog.lapsed(now)


class FakeReceiver:
    """One that does what a test says, in the place of the SDK's client."""

    behave: Callable[["FakeReceiver"], None]
    made: list["FakeReceiver"]

    def __init__(self, *_: object) -> None:
        self.watchdog = Watchdog()
        self.released = threading.Event()
        self.made.append(self)

    def run(self) -> None:
        type(self).behave(self)

    def stop(self) -> None:
        """It is not heard."""


def hang(receiver: FakeReceiver) -> None:
    receiver.watchdog.ticked_at -= 2 * LAPSE_S
    receiver.released.wait(60)


def break_down(_: FakeReceiver) -> None:
    raise IndexError("list index out of range")


def lose_connection(_: FakeReceiver) -> None:
    raise OSError("no route to host")


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeReceiver]]:
    made: list[FakeReceiver] = []
    monkeypatch.setattr(FakeReceiver, "made", made, raising=False)
    monkeypatch.setattr(source, "Receiver", FakeReceiver)
    yield made
    for each in made:
        each.released.set()


def make_source(metrics: Metrics) -> Source:
    unused: Any = None
    config = load(ENVIRONMENT)
    store = SqliteStore(Path("/nowhere/c.sqlite"))
    checkpointer = Checkpointer(store, config.hub, Ledger(), metrics.checkpoints)
    return Source(config, store, checkpointer, unused, metrics.receiver)


async def run_until_fatal(behave: Callable[[FakeReceiver], None]) -> tuple[str, float, float]:
    """Run until the source gives up; returns why, after how long, after how many restarts."""
    FakeReceiver.behave = behave
    metrics, start = Metrics(), trio.current_time()
    with pytest.raises(Fatal) as fatal:
        await make_source(metrics).run()
    return str(fatal.value), trio.current_time() - start, metrics.receiver.restarts._value.get()


async def test_receivers_that_hang_are_replaced_and_then_the_process_ends(
    receivers: list[FakeReceiver], fast_clock: MockClock
) -> None:
    why, took, restarts = await run_until_fatal(hang)
    assert "hang inside the SDK" in why
    assert len(receivers) == HUNG_MAX
    assert restarts == HUNG_MAX - 1
    assert took >= HUNG_MAX * CLOSE_S


async def test_receivers_that_break_are_replaced_and_then_the_process_ends(
    receivers: list[FakeReceiver], monkeypatch: pytest.MonkeyPatch, fast_clock: MockClock
) -> None:
    capture(monkeypatch, "aks_audit.hub.source.log")  # showing tracebacks takes time
    why, took, _ = await run_until_fatal(break_down)
    assert "IndexError: list index out of range" in why
    assert len(receivers) == BROKEN_MAX
    assert took >= 1 + 2 + 4 + 8  # the backoff


async def test_a_hub_that_cannot_be_reached_never_ends_the_process(
    receivers: list[FakeReceiver], monkeypatch: pytest.MonkeyPatch, fast_clock: MockClock
) -> None:
    FakeReceiver.behave = lose_connection
    lines = capture(monkeypatch, "aks_audit.hub.source.log")
    feed = make_source(Metrics())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.run)
        while len(receivers) < BROKEN_MAX + 3:  # noqa: ASYNC110 - the source tells nobody
            await trio.sleep(1)
        assert "no route to host" in str(feed.ready())
        nursery.cancel_scope.cancel()
    pauses = [line["pause_s"] for line in lines.entries if line["event"] == "rebuilding the client"]
    assert pauses[:5] == [1, 2, 4, 8, 15]
    assert set(pauses[5:]) == {15}


async def test_a_stalled_sender_is_named(autojump_clock: MockClock) -> None:
    async def never(_: object) -> None:
        await trio.sleep_forever()

    setup = make_destination(sink_config(concurrency=1))
    destination = setup.destination
    health = Health()
    health.add("sink", live=destination.stalled)
    items, _ = make_items(1)
    destination.channel.put(items)
    with trio.move_on_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                Sender(destination, ScriptedWebhook(never), destination.heartbeats[0]).run
            )
    assert set(health.stalled()) == {"sink"}


class HungStore(SqliteStore):
    """One whose file is on a disk that does not answer, until it is let go."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere/c.sqlite"))
        self.released = threading.Event()
        self.waiting = self.most_waiting = 0
        self.written: set[str] = set()
        self._lock = threading.Lock()

    def fence(self, _: Key, __: str) -> Position:
        return START_OF_STREAM

    def advance(self, key: Key, _: str, __: Position) -> None:
        with self._lock:
            self.waiting += 1
            self.most_waiting = max(self.waiting, self.most_waiting)
        self.released.wait(60)
        with self._lock:
            self.waiting -= 1
            self.written.add(key[3])


@pytest.mark.parametrize("partitions", [1, 32, 100])
async def test_a_store_that_hangs_never_fails_liveness(
    partitions: int,
    monkeypatch: pytest.MonkeyPatch,
    fast_clock: MockClock,
) -> None:
    capture(monkeypatch, "aks_audit.checkpoints.checkpointer.log")
    store, ledger = HungStore(), Ledger()
    writer = Checkpointer(store, load(ENVIRONMENT).hub, ledger, Metrics().checkpoints)
    health = Health()
    health.add("checkpoints", live=writer.heartbeat.overdue)
    for number in range(partitions):
        claimed = await writer.claim(str(number), START_OF_STREAM)
        claimed.open(HubEvent(str(number), Position(0, "0"), 0.0, b""), 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run, 5.0)
        for _ in range(300):
            await trio.sleep(1)
            assert not health.stalled()
        assert len(writer.unwritten_since) == partitions
        assert store.waiting == store.most_waiting == min(WRITERS, partitions), "bounded"
        # What comes back late is taken as it is, and the others follow.
        store.released.set()
        while ledger.dirty():  # noqa: ASYNC110 - the writer tells nobody
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert len(store.written) == partitions
    assert not writer.unwritten_since


async def test_the_longest_unwritten_checkpoint_is_the_first_to_be_written() -> None:
    order: list[str] = []

    class Noting(HungStore):
        def advance(self, key: Key, _: str, __: Position) -> None:
            with self._lock:
                order.append(key[3])

    ledger = Ledger()
    writer = Checkpointer(Noting(), load(ENVIRONMENT).hub, ledger, Metrics().checkpoints)
    for number in range(3 * WRITERS):
        claimed = await writer.claim(str(number), START_OF_STREAM)
        claimed.open(HubEvent(str(number), Position(0, "0"), 0.0, b""), 0)
        writer.unwritten_since[str(number)] = 1000.0 - number
    await writer.flush()
    ranks = [3 * WRITERS - 1 - int(partition) for partition in order]
    # Other writers may have taken theirs, and not come as far.
    assert all(rank < place + WRITERS for place, rank in enumerate(ranks))


HANGS = """
import time
from aks_audit.hub import callbacks, source, watchdog

watchdog.LAPSE_S, source.CLOSE_S = 1.0, 0.5
callbacks.Callbacks.on_claimed = lambda *_: time.sleep(3600)
from aks_audit.__main__ import main
main()
"""


def test_a_process_whose_receivers_hang_ends_and_the_next_one_goes_on(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    rig.publish(audit_bodies("waiting", 40, partitions=4))
    forwarder = rig.forwarder()
    forwarder._command = [sys.executable, "-c", HANGS]
    with forwarder:
        assert forwarder.wait() == 1
        assert len(forwarder.log("rebuilding the client")) == HUNG_MAX - 1
        assert "hang inside the SDK" in forwarder.text
    rig.release_owners()
    with rig.forwarder() as other:
        rig.account.wait()
        assert other.stop() == 0
    report(record_property, "receivers that hang", rig)
