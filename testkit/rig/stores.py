"""The checkpoint stores: how a forwarder is configured to use one, and how a test reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from azure.eventhub import CheckpointStore
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import ContainerClient

from aks_audit.checkpoints.sqlite import SqliteStore


@dataclass(frozen=True)
class Store:
    """A checkpoint store for one test, empty at first."""

    environment: Mapping[str, str]
    """The settings with which a forwarder uses it."""
    sdk: CheckpointStore

    create: Callable[[], object] = lambda: None
    """Creates what has to be there before the store can be used."""

    def checkpoints(self, namespace: str, hub: str, group: str) -> dict[str, int]:
        """Return the sequence numbers that are checkpointed, by partition."""
        found: Any = self.sdk.list_checkpoints(namespace, hub, group)
        return {each["partition_id"]: each["sequence_number"] for each in found}

    def owners(self, namespace: str, hub: str, group: str) -> dict[str, str]:
        """Return the owner of each partition that was ever owned; "" once it is released."""
        found: Any = self.sdk.list_ownership(namespace, hub, group)
        return {each["partition_id"]: each["owner_id"] or "" for each in found}

    def release_owners(self, namespace: str, hub: str, group: str) -> None:
        """Release all partitions for owners that cannot do it themselves: killed ones."""
        found: Any = self.sdk.list_ownership(namespace, hub, group)
        self.sdk.claim_ownership([{**each, "owner_id": ""} for each in found])


def sqlite_store(directory: Path) -> Store:
    """Return a store in a new file."""
    file = directory / f"checkpoints-{uuid4().hex}.sqlite"
    return Store({"CHECKPOINTFILE": str(file)}, SqliteStore(file))


def blob_store(connection_string: str, *, create: bool = True) -> Store:
    """Return a store in a new container, which exists unless `create` is false."""
    container = f"checkpoints-{uuid4().hex}"
    sdk = BlobCheckpointStore.from_connection_string(connection_string, container)
    environment = {
        "BLOBSTORAGECONNECTIONSTRING": connection_string,
        "BLOBCONTAINERNAME": container,
    }
    client = ContainerClient.from_connection_string(connection_string, container)
    store = Store(environment, sdk, client.create_container)
    if create:
        store.create()
    return store
