"""Partitions change hands under load: nothing is lost, no checkpoint goes back."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from testkit.rig import Forwarder, Rig, Store, open_rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import long, report

Record = Callable[[str, object], None]
SLOWLY = {"POSTBATCHMAXEVENTS": "5", "POSTCONCURRENCY": "2"}


@pytest.fixture
def blob_rig(blob: Store) -> Iterator[Rig]:
    """A rig whose store no stopped process can keep locked, as it can a SQLite file."""
    with open_rig(blob) as running:
        yield running


@contextmanager
def watched_checkpoints(rig: Rig) -> Iterator[None]:
    """Assert that no checkpoint goes back while the block runs."""
    back: list[object] = []
    over = threading.Event()

    def watch() -> None:
        before: dict[str, int] = {}
        while not over.wait(0.05):
            now = rig.checkpoints()
            back.extend((each, now) for each in before if now.get(each, -2) < before[each])
            before = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert not back


def start_under_load(rig: Rig, one: Forwarder) -> None:
    one.wait_for_log("partition claimed", count=4)
    rig.falco.faults.latency_ms = 20
    rig.publish(audit_bodies("load", 500, records=2, partitions=4))
    rig.falco.wait_for(lambda: rig.falco.count > 50)


def finish(rig: Rig, *forwarders: Forwarder) -> None:
    rig.falco.faults.latency_ms = 0
    rig.publish(audit_bodies("after", 8, partitions=4))
    rig.account.wait()
    rig.wait_for_checkpoints()
    for forwarder in forwarders:
        assert forwarder.stop() == 0
        assert not forwarder.stray()


def test_the_second_starts_and_the_first_stops(stored_rig: Rig, record_property: Record) -> None:
    rig = stored_rig
    with watched_checkpoints(rig), rig.forwarder(**SLOWLY) as one:
        start_under_load(rig, one)
        # What is behind the checkpoints now, the other may read again: they only move on.
        at_most = rig.behind_checkpoints()
        with rig.forwarder(**SLOWLY) as other:
            other.wait_for_log("partition claimed")
            # The one that loses a partition lets go of it within a round of load balancing.
            one.wait_for_log("partition released")
            assert one.stop() == 0
            finish(rig, other)
    report(record_property, "second started, first stopped, under load", rig, bound=at_most)
    assert rig.account.duplicates <= at_most


@pytest.mark.parametrize("expiring", [False, pytest.param(True, marks=long)])
def test_the_first_is_killed(rig: Rig, record_property: Record, *, expiring: bool) -> None:
    with watched_checkpoints(rig), rig.forwarder(**SLOWLY) as one:
        start_under_load(rig, one)
        one.kill()
        at_most = rig.behind_checkpoints()
        if not expiring:
            rig.release_owners()
        with rig.forwarder(**SLOWLY) as other:
            other.wait_for_log("partition claimed", count=4)
            finish(rig, other)
    how = "expired" if expiring else "released by hand"
    report(record_property, f"first killed under load, ownership {how}", rig, bound=at_most)
    assert rig.account.duplicates <= at_most


@pytest.mark.parametrize("expiring", [False, pytest.param(True, marks=long)])
def test_the_first_is_stopped_and_wakes_up_later(
    blob_rig: Rig, record_property: Record, *, expiring: bool
) -> None:
    rig = blob_rig
    with watched_checkpoints(rig), rig.forwarder(**SLOWLY) as one:
        start_under_load(rig, one)
        one.signal(signal.SIGSTOP)
        if not expiring:
            rig.release_owners()
        with rig.forwarder() as other:
            other.wait_for_log("partition claimed", count=4)
            rig.falco.faults.latency_ms = 0
            rig.account.wait()
            rig.wait_for_checkpoints()
            # It wakes up with events in flight and checkpoints to write that are not its own.
            one.signal(signal.SIGCONT)
            one.wait_for_log("partition released", count=2)
            at_most = one.metrics().total("aks_audit_log_hub_events_total") * 2
            finish(rig, one, other)
    how = "expired" if expiring else "released by hand"
    report(record_property, f"SIGSTOP, takeover ({how}), SIGCONT", rig, bound=int(at_most))
    assert rig.account.duplicates <= at_most
