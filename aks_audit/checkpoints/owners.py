"""Which owners of partitions are gone: a lock of the operating system proves that one lives.

Ownership expires a minute after its last renewal. A process that was killed released nothing, so
the next one would wait for that minute, although on one machine it can be known that nobody is
left. Each owner locks a file of its own, beside the file of the checkpoints, for as long as its
process lives (``flock``, which ends with the process, however that ends; a stopped process keeps
it). An owner whose file is there and not locked is gone. An owner without a file proves nothing: it
may be one of version 1.0.

A lock is seen by all processes of one kernel, also from containers. So the file holds the kernel's
boot id: with another one the owner may live on another machine, and nothing is proven.
"""

import fcntl
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

DIRECTORY_MODE, FILE_MODE = 0o700, 0o600
HELD_MAX = 8
"""Owners of this process: each client that is rebuilt is a new one, and those before it have
released their partitions or will lose them."""
LEFTOVER_S = 120.0
"""A file that is older and not locked is of no more use: its owner's partitions have expired."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The SDK names an owner by a UUID; any other name could be a path."""


class Owners:
    """The locks of the owners of one file of checkpoints. All calls are quick, and raise nothing.

    Args:
        directory: Where the files are; it is made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._guard = threading.Lock()
        self._held: dict[str, int] = {}

    def hold(self, owner: str) -> None:
        """Prove from now on that an owner lives. Called before it owns anything."""
        if _NAME.fullmatch(owner) is None:
            return
        with self._guard, suppress(OSError):  # without a file it is as it was: others wait
            if owner not in self._held:
                self._directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
                self._sweep()
                self._held[owner] = _lock(self._directory / owner)
            while len(self._held) > HELD_MAX:
                oldest = next(iter(self._held))
                (self._directory / oldest).unlink(missing_ok=True)
                os.close(self._held.pop(oldest))

    def gone(self, owner: str) -> bool:
        """Whether it is proven that an owner's process has ended."""
        if _NAME.fullmatch(owner) is None:
            return False
        try:
            return _unlocked(self._directory / owner, same_boot=True)
        except OSError:
            return False

    def _sweep(self) -> None:
        """Remove the files of owners that have ended long ago."""
        for file in self._directory.iterdir():
            with suppress(OSError):
                old = time.time() - file.stat().st_mtime > LEFTOVER_S
                if old and _NAME.fullmatch(file.name) and _unlocked(file, same_boot=False):
                    file.unlink()


def _lock(file: Path) -> int:
    """Make and lock an owner's file; returns its descriptor. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, _BOOT_ID.read_bytes())
    except OSError:
        os.close(descriptor)
        file.unlink(missing_ok=True)
        raise
    return descriptor


def _unlocked(file: Path, *, same_boot: bool) -> bool:
    """Whether nobody locks a file, of this boot where that is asked for. Raises OSError."""
    with file.open("rb") as opened:
        if same_boot and opened.read() != _BOOT_ID.read_bytes():
            return False
        try:
            # Shared: two that look at the same time do not take each other for the owner.
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
