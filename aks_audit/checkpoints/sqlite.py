"""The checkpoint store for local runs."""

import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..model import Position
from .store import Fenced, Key, Store

SQLITE_BUSY_S = 10.0
"""How long a process waits for another one's transaction."""

FILE_MODE = 0o600
"""Nobody else on the machine is to read or change how far a partition is done."""

CLOCK_SLACK_S = 60.0
"""An ownership whose time is further in the future than this was claimed before the clock was put
back."""


class SqliteStore(Store):
    """Ownership and checkpoints in one SQLite file, for local runs.

    Several processes on one machine may share the file: each call is one
    transaction on a connection of its own.
    """

    _SCHEMA = """
        CREATE TABLE IF NOT EXISTS ownership (
            namespace TEXT, hub TEXT, consumer_group TEXT, partition TEXT,
            owner TEXT NOT NULL, etag TEXT NOT NULL, modified REAL NOT NULL,
            PRIMARY KEY (namespace, hub, consumer_group, partition)
        ) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS checkpoint (
            namespace TEXT, hub TEXT, consumer_group TEXT, partition TEXT,
            "offset" TEXT NOT NULL, sequence_number INTEGER NOT NULL, writer TEXT NOT NULL,
            PRIMARY KEY (namespace, hub, consumer_group, partition)
        ) WITHOUT ROWID;
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._make_private()
        connection = sqlite3.connect(self._file, timeout=SQLITE_BUSY_S, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            # SQLite's own default, but a build may have another one: a commit is on disk.
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(self._SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # rolls back what was not committed

    def _make_private(self) -> None:
        """Make the file, which SQLite would make as the umask says; it gives others its mode.

        A file that is there must not be opened here: to close it would drop the locks of all
        connections of this process (SQLite, "How To Corrupt An SQLite Database File", 2.2).
        """
        with suppress(OSError):  # it is there; or SQLite says better what is wrong
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))

    def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The ownership of all partitions that were ever claimed."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM ownership WHERE (namespace, hub, consumer_group) = (?, ?, ?)",
                (fully_qualified_namespace, eventhub_name, consumer_group),
            ).fetchall()
        latest = time.time() + CLOCK_SLACK_S
        return [
            {
                "fully_qualified_namespace": row["namespace"],
                "eventhub_name": row["hub"],
                "consumer_group": row["consumer_group"],
                "partition_id": row["partition"],
                "owner_id": row["owner"],
                "etag": row["etag"],
                # Where the clock was put back, nobody is to wait until it is there again.
                "last_modified_time": row["modified"] if row["modified"] <= latest else 0.0,
            }
            for row in rows
        ]

    def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim partitions; returns the claims that nobody else was quicker with."""
        with self._transaction() as connection:
            return [
                claimed
                for ownership in ownership_list
                if (claimed := self._claim(connection, ownership)) is not None
            ]

    def _claim(
        self, connection: sqlite3.Connection, ownership: dict[str, Any]
    ) -> dict[str, Any] | None:
        key = _key(ownership)
        row = connection.execute(
            "SELECT etag FROM ownership"
            " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
            key,
        ).fetchone()
        if (row["etag"] if row is not None else None) != ownership.get("etag"):
            return None
        claimed = {**ownership, "etag": str(uuid.uuid4()), "last_modified_time": time.time()}
        connection.execute(
            "INSERT OR REPLACE INTO ownership VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, claimed["owner_id"], claimed["etag"], claimed["last_modified_time"]),
        )
        return claimed

    def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> None:
        """Write a checkpoint as the SDK does it, unfenced."""
        position = Position(checkpoint["sequence_number"], str(checkpoint["offset"]))
        key = _key(checkpoint)
        self.create(key, position)
        with self._transaction() as connection:
            self._set(connection, key, position)

    def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The checkpoints of all partitions that have one."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM checkpoint WHERE (namespace, hub, consumer_group) = (?, ?, ?)",
                (fully_qualified_namespace, eventhub_name, consumer_group),
            ).fetchall()
        return [
            {
                "fully_qualified_namespace": row["namespace"],
                "eventhub_name": row["hub"],
                "consumer_group": row["consumer_group"],
                "partition_id": row["partition"],
                "offset": row["offset"],
                "sequence_number": row["sequence_number"],
            }
            for row in rows
        ]

    def create(self, key: Key, position: Position) -> Position:
        """See `FencedWrites.create`."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, '')",
                (*key, position.offset, position.sequence_number),
            )
            row = self._row(connection, key)
            return Position(row["sequence_number"], row["offset"])

    def fence(self, key: Key, writer: str) -> Position:
        """See `FencedWrites.fence`."""
        with self._transaction() as connection:
            row = self._row(connection, key)
            connection.execute(
                "UPDATE checkpoint SET writer = ?"
                " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
                (writer, *key),
            )
            return Position(row["sequence_number"], row["offset"])

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """See `FencedWrites.advance`."""
        with self._transaction() as connection:
            row = self._row(connection, key)
            if row["writer"] != writer:
                raise Fenced
            if row["sequence_number"] < position.sequence_number:
                self._set(connection, key, position)

    def _row(self, connection: sqlite3.Connection, key: Key) -> sqlite3.Row:
        row: sqlite3.Row | None = connection.execute(
            "SELECT * FROM checkpoint"
            " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
            key,
        ).fetchone()
        if row is None:
            raise sqlite3.DataError(f"{self._file} has lost the checkpoint of partition {key[3]}")
        return row

    def _set(self, connection: sqlite3.Connection, key: Key, position: Position) -> None:
        connection.execute(
            'UPDATE checkpoint SET "offset" = ?, sequence_number = ?'
            " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
            (position.offset, position.sequence_number, *key),
        )


def _key(record: dict[str, Any]) -> Key:
    return (
        record["fully_qualified_namespace"],
        record["eventhub_name"],
        record["consumer_group"],
        record["partition_id"],
    )
