"""The checkpoint store for local runs."""

import os
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..model import Position
from ..ops.logs import get_logger
from .owners import Owners
from .record import Found, Unusable, read, usable
from .store import Fenced, Key, Scope, Store

log = get_logger("stores")

SQLITE_BUSY_S = 10.0
"""How long a process waits for another one's transaction."""

FILE_MODE = 0o600
"""Nobody else on the machine is to read or change how far a partition is done."""

# Event Hubs ignores the case of these names, the keys of the tables do not. So each statement uses
# the spelling that the table has. Version 1.0 wrote a second checkpoint where the hub was spelt in
# another way: of two the lower one counts, which loses nothing, and a claim deletes the other.
#
# The table `stream` stands beside 1.0's own, so that 1.0 can still read its file. What it says
# counts only for the sequence number that it was written with: 1.0 moves a checkpoint without it.
_CHECKPOINTS = """
    SELECT namespace, hub, consumer_group, partition, "offset", sequence_number, writer,
        enqueued, hubcreated
    FROM checkpoint LEFT JOIN stream
    USING (namespace, hub, consumer_group, partition, sequence_number)
    WHERE namespace = ? COLLATE NOCASE AND hub = ? COLLATE NOCASE
    AND consumer_group = ? COLLATE NOCASE AND partition LIKE ? ORDER BY sequence_number
"""
"""Of one partition, or of all where the last value is '%'. The names of partitions are numbers."""
_OTHERS = """
    DELETE FROM checkpoint
    WHERE namespace = ? COLLATE NOCASE AND hub = ? COLLATE NOCASE
    AND consumer_group = ? COLLATE NOCASE AND partition = ?
    AND (namespace, hub, consumer_group) <> (?, ?, ?)
"""
_OWNERS = """
    SELECT * FROM ownership
    WHERE namespace = ? COLLATE NOCASE AND hub = ? COLLATE NOCASE
    AND consumer_group = ? COLLATE NOCASE AND partition LIKE ? ORDER BY modified
"""
"""As above; of two spellings the last one counts, which was claimed last."""
_ALL = "%"

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
        CREATE TABLE IF NOT EXISTS stream (
            namespace TEXT, hub TEXT, consumer_group TEXT, partition TEXT,
            sequence_number INTEGER NOT NULL, enqueued INTEGER, hubcreated INTEGER,
            PRIMARY KEY (namespace, hub, consumer_group, partition)
        ) WITHOUT ROWID;
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._owners = Owners(file.with_name(f"{file.name}.owners"))

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
        scope = (fully_qualified_namespace, eventhub_name, consumer_group)
        with self._transaction() as connection:
            rows = connection.execute(_OWNERS, (*scope, _ALL)).fetchall()
        latest = time.time() + CLOCK_SLACK_S
        return [
            {
                "fully_qualified_namespace": row["namespace"],
                "eventhub_name": row["hub"],
                "consumer_group": row["consumer_group"],
                "partition_id": row["partition"],
                # One that is gone owns nothing: its partitions are free at once.
                "owner_id": "" if self._owners.gone(row["owner"]) else row["owner"],
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
        ownership_list = list(ownership_list)
        for owner in {ownership["owner_id"] for ownership in ownership_list}:
            self._owners.hold(owner)
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
        row = next(reversed(connection.execute(_OWNERS, key).fetchall()), None)
        if (row["etag"] if row is not None else None) != ownership.get("etag"):
            return None
        claimed = {**ownership, "etag": str(uuid.uuid4()), "last_modified_time": time.time()}
        spelt = key if row is None else tuple(row)[: len(key)]
        connection.execute(
            "INSERT OR REPLACE INTO ownership VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*spelt, claimed["owner_id"], claimed["etag"], claimed["last_modified_time"]),
        )
        return claimed

    def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> None:
        """Write a checkpoint as the SDK does it, unfenced."""
        position = Position(checkpoint["sequence_number"], str(checkpoint["offset"]))
        with self._transaction() as connection:
            key, row = self._row(connection, _key(checkpoint))
            if row is None:
                self._insert(connection, key, position, "")
            else:
                self._set(connection, key, position)

    def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[dict[str, Any]]:
        """The checkpoints of all partitions that have one that can be used."""
        found = self.found((fully_qualified_namespace, eventhub_name, consumer_group))
        return [
            {
                "fully_qualified_namespace": fully_qualified_namespace,
                "eventhub_name": eventhub_name,
                "consumer_group": consumer_group,
                "partition_id": partition,
                "offset": position.offset,
                "sequence_number": position.sequence_number,
            }
            for partition, position in found.items()
            if isinstance(position, Position)
        ]

    def found(self, scope: Scope) -> Mapping[str, Found]:
        """See `FencedWrites.found`."""
        with self._transaction() as connection:
            rows = connection.execute(_CHECKPOINTS, (*scope, _ALL)).fetchall()
        return {str(row["partition"]): self._found(row) for row in reversed(rows)}

    def create(self, key: Key, position: Position, writer: str = "") -> Position:
        """See `FencedWrites.create`."""
        with self._transaction() as connection:
            key, row = self._row(connection, key)
            if row is not None:
                return usable(self._found(row))
            self._insert(connection, key, position, writer)
            return position

    def fence(self, key: Key, writer: str) -> Position:
        """See `FencedWrites.fence`."""
        with self._transaction() as connection:
            key, row = self._row(connection, key)
            position = usable(self._found(self._there(key, row)))
            connection.execute(_OTHERS, (*key, *key[:3]))
            connection.execute(
                "UPDATE checkpoint SET writer = ?"
                " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
                (writer, *key),
            )
            return position

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """See `FencedWrites.advance`."""
        with self._transaction() as connection:
            key, row = self._row(connection, key)
            if row is None:
                log.warning("a checkpoint has vanished, writing it again", partition=key[3])
                self._insert(connection, key, position, writer)
                return
            if row["writer"] != writer:
                raise Fenced
            stored = self._found(row)
            if isinstance(stored, Unusable) or stored.sequence_number < position.sequence_number:
                self._set(connection, key, position)

    def replace(self, key: Key, writer: str, position: Position) -> None:
        """See `FencedWrites.replace`."""
        with self._transaction() as connection:
            key, row = self._row(connection, key)
            if self._there(key, row)["writer"] != writer:
                raise Fenced
            self._set(connection, key, position)

    def _row(self, connection: sqlite3.Connection, key: Key) -> tuple[Key, sqlite3.Row | None]:
        """A partition's checkpoint, if there is one, and its key as the table has it."""
        row: sqlite3.Row | None = connection.execute(_CHECKPOINTS, key).fetchone()
        if row is None:
            return key, None
        namespace, hub, group, partition, *_ = row
        return (namespace, hub, group, partition), row

    def _there(self, key: Key, row: sqlite3.Row | None) -> sqlite3.Row:
        if row is None:
            raise sqlite3.DataError(f"{self._file} has lost the checkpoint of partition {key[3]}")
        return row

    def _found(self, row: sqlite3.Row) -> Found:
        known = {name: row[name] for name in ("offset", "enqueued", "hubcreated")}
        where = f"of partition {row['partition']} in {self._file}"
        return read({**known, "sequencenumber": row["sequence_number"]}, where)

    def _insert(
        self, connection: sqlite3.Connection, key: Key, position: Position, writer: str
    ) -> None:
        connection.execute(
            "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, position.offset, position.sequence_number, writer),
        )
        self._note_stream(connection, key, position)

    def _set(self, connection: sqlite3.Connection, key: Key, position: Position) -> None:
        connection.execute(
            'UPDATE checkpoint SET "offset" = ?, sequence_number = ?'
            " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)",
            (position.offset, position.sequence_number, *key),
        )
        self._note_stream(connection, key, position)

    def _note_stream(self, connection: sqlite3.Connection, key: Key, position: Position) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, position.sequence_number, position.enqueued_ms, position.hub_created_ms),
        )


def _key(record: dict[str, Any]) -> Key:
    return (
        record["fully_qualified_namespace"],
        record["eventhub_name"],
        record["consumer_group"],
        record["partition_id"],
    )
