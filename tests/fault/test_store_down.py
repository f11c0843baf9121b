"""The checkpoint store goes away: forwarding goes on, what is unwritten is written later."""

import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.rig import Azurite, Forwarder, Rig, blob_store, open_rig
from testkit.rig.azurite import _OPTIONS, _SCRIPT, _port_of
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

Record = Callable[[str, object], None]
UNWRITTEN = "aks_audit_log_checkpoint_unwritten_seconds"


def forwards_without_it(rig: Rig, forwarder: Forwarder) -> float:
    """Deliver while the store is away; returns for how long nothing could be written."""
    rig.publish(audit_bodies("meanwhile", 80, partitions=4))
    rig.account.wait()
    scrape = forwarder.wait_until(lambda scrape: scrape.total(UNWRITTEN, partition="0") > 1)
    assert forwarder.get("/livez").status_code == 200
    return round(max(scrape.by(UNWRITTEN, "partition").values()), 1)


def catches_up(rig: Rig, forwarder: Forwarder) -> None:
    rig.publish(audit_bodies("after", 8, partitions=4))
    rig.account.wait()
    rig.wait_for_checkpoints()
    forwarder.wait_until(lambda scrape: scrape.total(UNWRITTEN) == 0)
    forwarder.wait_until_ready()
    assert forwarder.stop() == 0
    assert not forwarder.stray()


@contextmanager
def replaced(file: Path) -> Iterator[None]:
    """Have a directory where the file was."""
    aside = file.with_suffix(".aside")
    file.rename(aside)
    file.mkdir()
    yield
    file.rmdir()
    aside.rename(file)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock the file, as a process that hangs in a transaction does."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@pytest.mark.parametrize("trouble", [replaced, locked])
def test_sqlite_file_unusable_for_a_while(
    rig: Rig, record_property: Record, trouble: Callable[[Path], Iterator[None]]
) -> None:
    file = Path(rig.store.environment["CHECKPOINTFILE"])
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        with trouble(file):  # type: ignore[attr-defined]
            unwritten = forwards_without_it(rig, forwarder)
        catches_up(rig, forwarder)
    name = f"SQLite file {trouble.__name__}"
    report(record_property, name, rig, unwritten_s=unwritten)
    assert rig.account.duplicates == 0


class LastingAzurite:
    """An Azurite that keeps its data on disk, and its port over a restart."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.process = self._start(0)
        self.port = _port_of(self.process)

    def _start(self, port: int) -> subprocess.Popen[str]:
        kept = {"--blobPort=0", "--inMemoryPersistence", "--extentMemoryLimit=64"}
        options = [each for each in _OPTIONS if each not in kept]
        more = [f"--blobPort={port}", f"--location={self._directory}"]
        command = ["node", str(_SCRIPT), *options, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self) -> None:
        # In order: at SIGKILL it has not yet written to disk what is younger than some seconds.
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.communicate()

    def restart(self) -> None:
        self.process = self._start(self.port)
        assert _port_of(self.process) == self.port


@pytest.fixture
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LastingAzurite]:
    request.getfixturevalue("azurite")  # which knows whether there is any
    running = LastingAzurite(tmp_path)
    try:
        yield running
    finally:
        running.kill()


@contextmanager
def killed(azurite: LastingAzurite) -> Iterator[None]:
    azurite.kill()
    yield
    azurite.restart()


@contextmanager
def silent(azurite: LastingAzurite) -> Iterator[None]:
    azurite.process.send_signal(signal.SIGSTOP)
    yield
    azurite.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("trouble", [killed, silent])
def test_blob_storage_away_for_a_while(
    lasting: LastingAzurite,
    record_property: Record,
    trouble: Callable[[LastingAzurite], Iterator[None]],
) -> None:
    store = blob_store(Azurite(lasting.port).connection_string)
    with open_rig(store) as rig:
        with rig.forwarder() as forwarder:
            rig.publish(audit_bodies("before", 40, partitions=4))
            rig.account.wait()
            rig.wait_for_checkpoints()
            with trouble(lasting):  # type: ignore[attr-defined]
                unwritten = forwards_without_it(rig, forwarder)
            catches_up(rig, forwarder)
        report(record_property, f"Blob Storage {trouble.__name__}", rig, unwritten_s=unwritten)
        assert rig.account.duplicates == 0
