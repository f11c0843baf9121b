"""Falco is restarted in a backlog: it answered what it had queued, and lost it with its queue.

The stand-in is a process of its own that behaves as the real one was seen to: a queue of 50 bodies,
one worker, an answer at queueing, and a queue that ends with the process.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.falco import Key
from testkit.rig import Rig, eventually
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Report
from tests.fault.report import long

RESTARTS = 5
QUEUE = 50
IN_DOUBT = 51
"""Bodies: those that are queued, and the one at the worker."""


class Falco:
    """A process of the stand-in, on a port that it keeps."""

    def __init__(self, journal: Path, events_per_s: int) -> None:
        self._journal = journal
        self._arguments = ["--journal", str(journal), "--events-per-s", str(events_per_s)]
        self.port = 0
        self._process: subprocess.Popen[str]

    def start(self) -> None:
        command = [sys.executable, "-m", "testkit.falco", "--queue", str(QUEUE)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().split()[-1]
        self.port = int(url.rpartition(":")[2].partition("/")[0])
        self.url = url

    def end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.communicate()

    def receipts(self) -> Counter[Key]:
        """What its worker was through with, in all of its lives."""
        text = self._journal.read_text() if self._journal.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        return Counter((line.split()[0], line.split()[1]) for line in whole.splitlines())


@contextmanager
def running(journal: Path, events_per_s: int) -> Iterator[Falco]:
    falco = Falco(journal, events_per_s)
    falco.start()
    try:
        yield falco
    finally:
        falco.end(signal.SIGKILL)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("events", "batch"), [(20_000, 40), pytest.param(100_000, 400, marks=long)]
)
def test_what_was_queued_is_posted_again(
    how: signal.Signals,
    events: int,
    batch: int,
    rig: Rig,
    tmp_path: Path,
    record_property: Report,
) -> None:
    records = 20
    with running(tmp_path / "journal", events // 8) as falco:
        settings = {"POSTBATCHMAXEVENTS": str(batch), "INDOUBTTIME": "3000"}
        with rig.forwarder(WEBSINKURL=falco.url, **settings) as forwarder:
            rig.publish(audit_bodies("queued", events // records, records=records, partitions=4))
            for restart in range(1, RESTARTS + 1):
                enough = events * restart // (RESTARTS + 2)
                eventually(lambda: len(falco.receipts()) >= enough, f"{enough} events")  # noqa: B023
                falco.end(how)
                falco.start()
            rig.wait_for_checkpoints()
            breaks = len(forwarder.log("the endpoint broke: what it may have lost is posted again"))
            again = forwarder.metrics().total("aks_audit_log_events_posted_again_total")
            assert forwarder.stop() == 0
        receipts = falco.receipts()
    assert receipts.keys() == rig.account.published.keys(), "lost"
    duplicates = receipts.total() - len(receipts)
    record_property("published", events)
    record_property("duplicates", duplicates)
    record_property("posted_again", again)
    print(f"fault: {how.name}: {events} events, {duplicates} twice, {again:.0f} posted again")  # noqa: T201
    assert (
        breaks >= RESTARTS
    )  # on SIGTERM, what is answered after the break was seen is a second one
    assert duplicates <= RESTARTS * IN_DOUBT * batch
