"""Which owners are proven to be gone, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from aks_audit.checkpoints import owners as module
from aks_audit.checkpoints.owners import HELD_MAX, LEFTOVER_S, Owners

HOLD = """
import sys, time
from pathlib import Path
from aks_audit.checkpoints.owners import Owners
owners = Owners(Path(sys.argv[1]))
owners.hold(sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def holder(directory: Path, owner: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(directory), owner]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_an_owner_is_gone_when_its_process_is(tmp_path: Path) -> None:
    owners, owner = Owners(tmp_path / "owners"), str(uuid4())
    with holder(tmp_path / "owners", owner) as process:
        assert not owners.gone(owner)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not owners.gone(owner), "it may go on"
        process.kill()
        process.wait()
        assert owners.gone(owner)
        assert Owners(tmp_path / "owners").gone(owner)


def test_the_own_owners_live(tmp_path: Path) -> None:
    owners, owner = Owners(tmp_path / "owners"), str(uuid4())
    owners.hold(owner)
    owners.hold(owner)
    assert not owners.gone(owner)
    assert not Owners(tmp_path / "owners").gone(owner)
    assert (tmp_path / "owners").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "owners" / owner).stat().st_mode & 0o777 == 0o600


def test_nothing_is_proven_of_an_owner_of_another_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners, owner = Owners(tmp_path), str(uuid4())
    with holder(tmp_path, owner) as process:
        process.kill()
        process.wait()
    other = tmp_path / "boot_id"
    other.write_text("another\n")
    assert owners.gone(owner)
    monkeypatch.setattr(module, "_BOOT_ID", other)
    assert not owners.gone(owner)


@pytest.mark.parametrize("owner", ["23aadafa-c82c-4123-a815-0c5310af976b", "", "me", "../boot_id"])
def test_nothing_is_proven_of_an_owner_without_a_lock(tmp_path: Path, owner: str) -> None:
    (tmp_path / "boot_id").write_bytes(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    owners = Owners(tmp_path / "owners")
    assert not owners.gone(owner)
    Owners(tmp_path / "boot_id" / "no directory").hold(str(uuid4()))
    owners.hold("../boot_id")
    assert not owners.gone("../boot_id")


def test_files_and_descriptors_do_not_gather(tmp_path: Path) -> None:
    dead, fresh, living = (str(uuid4()) for _ in range(3))
    for owner in (dead, fresh):
        with holder(tmp_path, owner):
            pass
    other = Owners(tmp_path)
    other.hold(living)
    old = time.time() - LEFTOVER_S - 1
    for owner in (dead, living):
        os.utime(tmp_path / owner, (old, old))
    (tmp_path / "another file").touch()
    os.utime(tmp_path / "another file", (old, old))
    owners = Owners(tmp_path)
    held = [str(uuid4()) for _ in range(HELD_MAX + 3)]
    for owner in held:
        owners.hold(owner)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {fresh, living, "another file", *held[3:]}
    assert not any(map(owners.gone, held))
