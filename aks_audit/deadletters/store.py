"""Where dead letters are kept.

They are kept in *segments*: immutable files of JSON lines. Each is written in one step, so a burst
makes one file, and a crash leaves none half written. A segment is a blob beside the checkpoints, or
a file in a directory.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from ..config.settings import BlobLocation, DeadLetterLocation, Directory, HubConfig
from ..storage import open_container
from .letter import SUFFIX

BLOB_PREFIX = "deadletters"
LEFTOVER_S = 3600.0
"""A file still aside after so long was left by a process that died while it wrote."""


NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
"""Dead letters hold audit events: nobody else on the machine is to read them."""


class Store(Protocol):
    """Segments by name.

    All calls block, and raise OSError or AzureError when the store fails. A name is what
    `letter.segment_name` makes; data is what `letter.encode` makes, some MB at most.
    """

    def write(self, name: str, data: bytes) -> None:
        """Keep a segment, whole and durable once this returns; overwrites one of that name."""

    def names(self) -> Iterable[str]:
        """All segments, oldest first."""

    def read(self, name: str) -> bytes | None:
        """A segment's bytes, or None where it is gone."""

    def remove(self, name: str) -> None:
        """Remove a segment; it may be gone already."""


class DirectoryStore:
    """Segments as files: written aside, flushed to disk, then renamed into place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._swept = False

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        self._path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if not self._swept:
            self._sweep()
            self._swept = True
        # A name of its own: another process may write a segment of this name just now.
        aside = self._path / f".{name}.{uuid4().hex[:8]}.tmp"
        try:
            with os.fdopen(os.open(aside, NEW_FILE, FILE_MODE), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self._path / name)
        except OSError:
            with suppress(OSError):  # the first error says more
                aside.unlink(missing_ok=True)
            raise
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _sweep(self) -> None:
        """Remove what writers that were killed left aside."""
        for aside in self._path.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # another process sweeps as well
                if time.time() - aside.stat().st_mtime > LEFTOVER_S:
                    aside.unlink()

    def names(self) -> Iterable[str]:
        """See `Store.names`."""
        if not self._path.exists():
            return []
        return sorted(
            entry.name
            for entry in self._path.iterdir()
            if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
        )

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        (self._path / name).unlink(missing_ok=True)


class BlobStore:
    """Segments as block blobs under ``deadletters/<namespace>/<hub>/<group>/``."""

    def __init__(self, container: ContainerClient, hub: HubConfig) -> None:
        self._container = container
        folder = f"{BLOB_PREFIX}/{hub.namespace}/{hub.name}/{hub.consumer_group}/"
        self._folder = folder.lower()

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        self._container.upload_blob(self._folder + name, data, overwrite=True)

    def names(self) -> Iterable[str]:
        """See `Store.names`. Blob Storage lists names in order."""
        for name in self._container.list_blob_names(name_starts_with=self._folder):
            yield name.removeprefix(self._folder)

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        try:
            return self._container.download_blob(self._folder + name).readall()
        except ResourceNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        try:
            self._container.delete_blob(self._folder + name)
        except ResourceNotFoundError:
            return


def open_store(location: DeadLetterLocation, hub: HubConfig) -> Store:
    """Make the store at a location, for the dead letters of a hub; does no I/O."""
    match location:
        case Directory(path):
            return DirectoryStore(path)
        case BlobLocation():
            return BlobStore(open_container(location), hub)
