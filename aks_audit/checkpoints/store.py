"""The checkpoint stores: the SDK's CheckpointStore, with fenced writes.

The SDK needs four operations of a store, for its load balancing and its start
positions. Our own writes need more than its ``update_checkpoint``, which
overwrites whatever is there: a replica that lost a partition, and does not
know it yet, would put the checkpoint back. So each claim *fences* the
checkpoint with a writer's name of its own, and a write only succeeds while
that name still stands.

The stores are the SDK's *synchronous* ones: both the SDK's load balancer (on
its own thread, through the bridge) and our checkpoint writer call them through
``trio.to_thread``, so a store that hangs holds up a worker thread and nothing
else, and the writer does not depend on the receiver's health.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.eventhub import CheckpointStore
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import BlobClient, ContainerClient

from ..config.settings import CheckpointConfig
from ..model import Position
from ..ops.logs import get_logger
from ..storage import open_container

log = get_logger("stores")

SQLITE_BUSY_S = 10.0
"""How long a process waits for another one's transaction."""

CLOCK_SLACK_S = 60.0
"""So far in the future, an ownership was claimed before the clock was put back."""

Key = tuple[str, str, str, str]
"""Namespace, hub, consumer group and partition."""


class Fenced(Exception):  # noqa: N818 - a state of affairs rather than an error
    """Somebody else has claimed the partition since: its checkpoint is no longer ours."""


class Progress(Protocol):
    """What `Checkpointer` needs of a store."""

    def create(self, key: Key, position: Position) -> Position:
        """Write a first checkpoint; one that is there already stays. Returns what is there now."""

    def fence(self, key: Key, writer: str) -> Position:
        """Make the checkpoint the writer's own, and return it. Earlier writers are shut out."""

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """Move the checkpoint forward, never back. Raises Fenced."""


class Store(CheckpointStore, Progress):
    """A store for the SDK and for us. All calls block; they raise what their library raises."""


def open_store(config: CheckpointConfig) -> Store:
    """The store that the configuration names; does no I/O."""
    if config.file is not None:
        return SqliteStore(config.file)
    if config.blob_connection_string is None:
        raise ValueError("neither a checkpoint file nor Blob Storage is configured")
    return BlobStore(
        open_container(config.blob_connection_string, config.container, config.ca_file)
    )


class BlobStore(BlobCheckpointStore, Store):
    """The SDK's store on Blob Storage; its writes are fenced with the blob's ETag.

    The blobs are those of every Event Hubs SDK, with the writer's name as one
    more metadata value, so that KEDA's scaler reads them (blobMetadata).
    """

    def __init__(self, container: ContainerClient) -> None:
        super().__init__("", "", container_client=container)
        self._container = container
        self._held: dict[Key, _Held] = {}

    def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim or renew partitions, as the SDK does it. Raises AzureError.

        The SDK's own swallows an outage, and returns as ours what it could not claim;
        only the ETag tells, which each write changes.
        """
        wanted = list(ownership_list)
        before = {ownership["partition_id"]: ownership.get("etag") for ownership in wanted}
        claimed = list(super().claim_ownership(wanted))
        failed = [one for one in claimed if one.get("etag") == before[one["partition_id"]]]
        if failed:
            raise AzureError(f"the ownership of {len(failed)} partitions could not be written")
        return claimed

    def create(self, key: Key, position: Position) -> Position:
        """See `Progress.create`. A checkpoint of aks-audit-log-go is gone on from."""
        position = self._left_behind(key) or position
        try:
            self._blob(key).upload_blob(b"", metadata=_metadata(position, ""), overwrite=False)
        except ResourceExistsError:
            return self._read(key).position
        return position

    def fence(self, key: Key, writer: str) -> Position:
        """See `Progress.fence`."""
        while True:
            stored = self._read(key)
            try:
                self._write(key, writer, stored.position, stored.etag)
            except ResourceModifiedError:
                continue  # somebody was quicker: fence off whatever he wrote
            return stored.position

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """See `Progress.advance`."""
        # Taken as a whole: with the ETag of one state and the position of another, of two
        # writes that overtake each other the earlier one could come out on top.
        held = self._held[key]
        while held.writer == writer:
            if held.position.sequence_number >= position.sequence_number:
                return None
            try:
                return self._write(key, writer, position, held.etag)
            except ResourceModifiedError:
                # Either another claim, or a write of ours whose answer was lost.
                held = self._read(key)
                if held.writer == writer:
                    self._held[key] = held
        raise Fenced

    def _left_behind(self, key: Key) -> Position | None:
        """Where the Go SDK's forwarder stopped, if there was one.

        It names its blobs as the hub and the group are spelt, the Python SDK in lower
        case: from ``$Default`` on, the one does not find the other's.
        """
        name = "{}/{}/{}/checkpoint/{}".format(*key)
        if name == name.lower():
            return None
        try:
            metadata = self._container.get_blob_client(name).get_blob_properties().metadata
        except ResourceNotFoundError:
            return None
        known = {each.lower(): value for each, value in metadata.items()}
        try:
            position = Position(int(known["sequencenumber"]), known["offset"])
        except (KeyError, ValueError):
            log.warning("the earlier forwarder's checkpoint cannot be read", blob=name)
            return None
        log.info("going on where the earlier forwarder stopped", blob=name)
        return position

    def _blob(self, key: Key) -> BlobClient:
        namespace, hub, group, partition = key
        return self._container.get_blob_client(
            f"{namespace}/{hub}/{group}/checkpoint/{partition}".lower()
        )

    def _read(self, key: Key) -> "_Held":
        properties = self._blob(key).get_blob_properties()
        known = properties.metadata
        position = Position(int(known["sequencenumber"]), known["offset"])
        return _Held(known.get("writer", ""), position, str(properties.etag))

    def _write(self, key: Key, writer: str, position: Position, etag: str) -> None:
        written = self._blob(key).set_blob_metadata(
            _metadata(position, writer), etag=etag, match_condition=MatchConditions.IfNotModified
        )
        self._held[key] = _Held(writer, position, str(written["etag"]))


class _Held(NamedTuple):
    """One state of a checkpoint's blob."""

    writer: str
    position: Position
    etag: str


def _metadata(position: Position, writer: str) -> dict[str, str]:
    return {
        "offset": position.offset,
        "sequencenumber": str(position.sequence_number),
        "writer": writer,
    }


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
    _WHERE = " WHERE (namespace, hub, consumer_group, partition) = (?, ?, ?, ?)"

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._file, timeout=SQLITE_BUSY_S, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.executescript(self._SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()  # rolls back what was not committed

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
            f"SELECT etag FROM ownership{self._WHERE}",  # noqa: S608 - a constant
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
        """See `Progress.create`."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, '')",
                (*key, position.offset, position.sequence_number),
            )
            row = self._row(connection, key)
            return Position(row["sequence_number"], row["offset"])

    def fence(self, key: Key, writer: str) -> Position:
        """See `Progress.fence`."""
        with self._transaction() as connection:
            row = self._row(connection, key)
            connection.execute(f"UPDATE checkpoint SET writer = ?{self._WHERE}", (writer, *key))  # noqa: S608
            return Position(row["sequence_number"], row["offset"])

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """See `Progress.advance`."""
        with self._transaction() as connection:
            row = self._row(connection, key)
            if row["writer"] != writer:
                raise Fenced
            if row["sequence_number"] < position.sequence_number:
                self._set(connection, key, position)

    def _row(self, connection: sqlite3.Connection, key: Key) -> sqlite3.Row:
        row = connection.execute(f"SELECT * FROM checkpoint{self._WHERE}", key).fetchone()  # noqa: S608
        if row is None:
            raise sqlite3.DataError(f"{self._file} has lost the checkpoint of partition {key[3]}")
        return row  # type: ignore[no-any-return]

    def _set(self, connection: sqlite3.Connection, key: Key, position: Position) -> None:
        connection.execute(
            f'UPDATE checkpoint SET "offset" = ?, sequence_number = ?{self._WHERE}',  # noqa: S608
            (position.offset, position.sequence_number, *key),
        )


def _key(record: dict[str, Any]) -> Key:
    return (
        record["fully_qualified_namespace"],
        record["eventhub_name"],
        record["consumer_group"],
        record["partition_id"],
    )
