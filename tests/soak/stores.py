"""The stores of the soak, and what can be wrong with their checkpoints.

Both are broken from outside while the forwarders use them: the way to Blob Storage is a proxy, and
a SQLite file is changed by another connection.
"""

import random
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from testkit.rig import HUB, Azurite, Rig, Store, blob_store, sqlite_store
from testkit.rig.azurite import run_azurite
from testkit.rig.proxy import Proxy
from testkit.rig.rig import GROUP
from tests.soak.trouble import Fault, at_once, between

LOCKED_S = 60.0
"""How long to wait for the transaction of a forwarder, which may be stopped in the middle of it."""
_TABLES = "ownership", "checkpoint", "stream"
_READ_ONLY = """
    CREATE TRIGGER read_only_{table}_{write} BEFORE {write} ON {table}
    BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END
"""


@dataclass(frozen=True)
class Breakable:
    """A store that can be broken.

    Args:
        store: As the forwarders use it.
        proxy: What is between them, if it is Blob Storage.
        around: The settings that lead to it whatever is broken.
    """

    store: Store
    proxy: Proxy | None = None
    around: Mapping[str, str] = field(default_factory=dict)

    def faults(self, rig: Rig, rng: random.Random) -> dict[str, Fault]:
        """What can be wrong with it."""

        def delete() -> None:
            partition = str(rng.randrange(rig.partitions))
            if self.proxy is None:
                self._sql("DELETE FROM checkpoint WHERE partition = ?", partition)
            else:
                self._delete_blob(f"{rig.namespace}/{HUB}/{GROUP}/checkpoint/{partition}")

        deleted = {"a checkpoint is deleted": at_once(delete)}
        if self.proxy is None:
            return deleted | {"store is read-only": between(self._forbid, self._allow)}
        return deleted | {
            "store refuses connections": self.proxy.refusing,
            "store cuts connections": at_once(partial(_cut, self.proxy)),
        }

    def _forbid(self) -> None:
        """Let the forwarders read the file, and not write: root may write a file of any mode."""
        for table in _TABLES:
            for write in ("INSERT", "UPDATE"):
                self._sql(_READ_ONLY.format(table=table, write=write))

    def _allow(self) -> None:
        for table in _TABLES:
            for write in ("INSERT", "UPDATE"):
                self._sql(f"DROP TRIGGER read_only_{table}_{write}")

    def _sql(self, statement: str, *values: object) -> None:
        file = self.store.environment["CHECKPOINTFILE"]
        with closing(sqlite3.connect(file, timeout=LOCKED_S)) as connection, connection:
            connection.execute(statement, values)

    def _delete_blob(self, name: str) -> None:
        known = {**self.store.environment, **self.around}
        with (
            ContainerClient.from_connection_string(
                known["BLOBSTORAGECONNECTIONSTRING"], known["BLOBCONTAINERNAME"]
            ) as container,
            suppress(ResourceNotFoundError),  # the forwarder has not made it yet, or not again
        ):
            container.delete_blob(name.lower())


def _cut(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.accept()


@contextmanager
def open_store(directory: Path, kind: str | None) -> Iterator[Breakable]:
    """Give Azurite behind a proxy where it is installed, or a SQLite file, or the kind asked for.

    Raises:
        RuntimeError: Azurite was asked for, and cannot be run.
    """
    why = "as asked for" if kind == "sqlite" else Azurite.missing()
    if why is not None:
        if kind == "blob":
            raise RuntimeError(why)
        print(f"on a SQLite file: {why}")  # noqa: T201
        store = sqlite_store(directory)
        store.owners("", "", "")  # which makes the tables
        yield Breakable(store)
        return
    with run_azurite(directory) as azurite, Proxy(azurite.port) as proxy:
        around = {"BLOBSTORAGECONNECTIONSTRING": azurite.connection_string}
        yield Breakable(blob_store(Azurite(proxy.port).connection_string), proxy, around)
