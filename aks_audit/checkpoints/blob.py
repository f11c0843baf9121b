"""Checkpoints and ownership as blobs, where every Event Hubs SDK and KEDA look for them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import BlobClient, ContainerClient, StorageErrorCode

from ..model import Position
from ..ops.logs import get_logger
from .record import Found, Unusable, fields, parse, read, usable
from .store import Fenced, Key, Scope, Store

log = get_logger("stores")


class BlobStore(BlobCheckpointStore, Store):
    """The SDK's store on Blob Storage; its writes are fenced with the blob's ETag.

    The blobs are those of every Event Hubs SDK, with the writer's name as one more metadata
    value, so that KEDA's scaler can read them (blobMetadata).
    """

    def __init__(self, container: ContainerClient) -> None:
        super().__init__("", "", container_client=container)
        self._container = container
        self._held: dict[Key, _Held] = {}

    def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim or renew partitions; returns the claims that nobody else was quicker with.

        Written anew, because the SDK's own method hides an outage and its reason: it returns as
        ours what it could not claim. And it tries each of the partitions, whatever the store's
        silence with the first one costs. Raises AzureError.
        """
        claims = (self._claim(ownership) for ownership in ownership_list)
        return [claimed for claimed in claims if claimed is not None]

    def _claim(self, ownership: dict[str, Any]) -> dict[str, Any] | None:
        namespace, hub, group = (
            ownership["fully_qualified_namespace"],
            ownership["eventhub_name"],
            ownership["consumer_group"],
        )
        name = f"{namespace}/{hub}/{group}/ownership/{ownership['partition_id']}".lower()
        blob, owner = self._container.get_blob_client(name), {"ownerid": ownership["owner_id"]}
        try:
            if etag := ownership.get("etag"):
                unchanged = MatchConditions.IfNotModified
                written: dict[str, Any] = blob.set_blob_metadata(
                    owner, etag=etag, match_condition=unchanged
                )
            else:
                written = blob.upload_blob(b"", metadata=owner, overwrite=False)
        except (ResourceModifiedError, ResourceExistsError):
            return None
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) == StorageErrorCode.CONTAINER_NOT_FOUND:
                raise
            return None  # removed since it was listed: the next round makes it anew
        modified = written["last_modified"].timestamp()
        return {**ownership, "etag": written["etag"], "last_modified_time": modified}

    def found(self, scope: Scope) -> Mapping[str, Found]:
        """See `FencedWrites.found`."""
        prefix = "{}/{}/{}/checkpoint/".format(*scope).lower()
        blobs = self._container.list_blobs(name_starts_with=prefix, include=["metadata"])
        return {
            blob.name.removeprefix(prefix): read(blob.metadata or {}, blob.name) for blob in blobs
        }

    def create(self, key: Key, position: Position, writer: str = "") -> Position:
        """See `FencedWrites.create`. A checkpoint of aks-audit-log-go is taken over."""
        if not writer:  # whoever reads the partition knows better
            position = self._left_behind(key) or position
        try:
            self._make(key, writer, position)
        except ResourceExistsError:
            return usable(self._read(key).found)
        return position

    def fence(self, key: Key, writer: str) -> Position:
        """See `FencedWrites.fence`."""
        while True:
            stored = self._read(key)
            position = usable(stored.found)
            try:
                self._write(key, writer, position, stored.etag)
            except ResourceModifiedError:
                continue  # another writer was quicker: read what it wrote, and try again
            return position

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """See `FencedWrites.advance`."""
        self._move(key, writer, position, back=False)

    def replace(self, key: Key, writer: str, position: Position) -> None:
        """See `FencedWrites.replace`."""
        self._move(key, writer, position, back=True)

    def _move(self, key: Key, writer: str, position: Position, *, back: bool) -> None:
        # Taken as a whole. With the ETag of one state and the position of another, the earlier of
        # two writes that overtake each other could replace the later one.
        held = self._held[key]
        while held.writer == writer:
            if not back and _reached(held.found, position):
                return None
            try:
                return self._write(key, writer, position, held.etag)
            except (ResourceModifiedError, ResourceNotFoundError):
                # Another claim, a write of ours whose answer was lost, damage, or it has vanished.
                held = self._state(key, writer, position)
                if isinstance(held.found, Unusable) and not held.writer:
                    held = _Held(writer, held.found, held.etag)
                if held.writer == writer:
                    self._held[key] = held
        raise Fenced

    def _state(self, key: Key, writer: str, position: Position) -> "_Held":
        """What the checkpoint is now; one that has vanished is written again."""
        try:
            return self._read(key)
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) != StorageErrorCode.BLOB_NOT_FOUND:
                raise  # it is the container that is gone
        log.warning("a checkpoint has vanished, writing it again", partition=key[3])
        with suppress(ResourceExistsError):  # somebody was quicker: see who
            self._make(key, writer, position)
        return self._read(key)

    def _left_behind(self, key: Key) -> Position | None:
        """Where the Go SDK's forwarder stopped, if there was one.

        It names its blobs as the hub and the group are spelt, the Python SDK in lower case. So
        the one does not find the other's, not even where the group is ``$Default``.
        """
        name = "{}/{}/{}/checkpoint/{}".format(*key)
        if name == name.lower():
            return None
        try:
            metadata = self._container.get_blob_client(name).get_blob_properties().metadata
        except ResourceNotFoundError:
            return None
        position = parse(metadata, name)
        log.info("going on where the earlier forwarder stopped", blob=name)
        return position

    def _blob(self, key: Key) -> BlobClient:
        namespace, hub, group, partition = key
        return self._container.get_blob_client(
            f"{namespace}/{hub}/{group}/checkpoint/{partition}".lower()
        )

    def _read(self, key: Key) -> "_Held":
        blob = self._blob(key)
        properties = blob.get_blob_properties()
        known = properties.metadata
        return _Held(known.get("writer", ""), read(known, blob.blob_name), str(properties.etag))

    def _make(self, key: Key, writer: str, position: Position) -> None:
        made = self._blob(key).upload_blob(b"", metadata=fields(position, writer), overwrite=False)
        self._held[key] = _Held(writer, position, str(made["etag"]))

    def _write(self, key: Key, writer: str, position: Position, etag: str) -> None:
        written = self._blob(key).set_blob_metadata(
            fields(position, writer), etag=etag, match_condition=MatchConditions.IfNotModified
        )
        self._held[key] = _Held(writer, position, str(written["etag"]))


class _Held(NamedTuple):
    """One state of a checkpoint's blob."""

    writer: str
    found: Found
    etag: str


def _reached(found: Found, position: Position) -> bool:
    return isinstance(found, Position) and found.sequence_number >= position.sequence_number
