"""There is no room for dead letters: they stay in flight until there is."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance, Report

POISON = 30


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no mounts are allowed here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all; returns the file to remove for some."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_full_disk_keeps_dead_letters_in_flight(
    rig: Rig, tmp_path: Path, record_property: Report
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 60_000)
        settings = {"DEADLETTERPATH": str(disk / "letters")}
        balance = Balance(rig, record_property, **settings)
        with rig.forwarder(**settings) as forwarder:
            rig.falco.faults.reject('"poison-', 400)
            rig.publish(audit_bodies("good", 40, records=3, partitions=4))
            rig.account.wait()
            rig.wait_for_checkpoints()
            rig.publish(audit_bodies("poison", POISON, partitions=4))
            forwarder.wait_until_unready("dead letters", "No space left on device")
            rig.publish(audit_bodies("more", 40, records=3, partitions=4))
            rig.falco.wait_for(lambda: rig.falco.received.unique == 240)
            forwarder.wait_until(
                lambda scrape: scrape.total("aks_audit_log_inflight_events") == POISON
            )
            assert forwarder.get("/livez").status_code == 200
            assert not balance.letters()
            ballast.unlink()
            balance.wait()
            forwarder.wait_until_ready()
            assert forwarder.stop() == 0
        assert not list((disk / "letters").glob(".*")), "no half segment stays"
        assert balance.reasons() == {"rejected": POISON}
        balance.check(dead=POISON)


def test_a_limit_on_file_size_keeps_dead_letters_in_flight(rig: Rig, balance: Balance) -> None:
    with rig.forwarder() as forwarder:
        rig.falco.faults.reject('"poison-', 400)
        rig.publish(audit_bodies("good", 40, records=3, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        unlimited = resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, (100, -1))
        rig.publish(audit_bodies("poison", POISON, partitions=4))
        forwarder.wait_until_unready("dead letters", "File too large")
        assert not balance.letters()
        resource.prlimit(forwarder.pid, resource.RLIMIT_FSIZE, unlimited)
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
    balance.check(dead=POISON)
