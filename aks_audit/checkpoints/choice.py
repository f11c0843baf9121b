"""Which checkpoint store the configuration names."""

from ..config.settings import CheckpointConfig
from ..storage import open_container
from .blob import BlobStore
from .sqlite import SqliteStore
from .store import Store


def open_store(config: CheckpointConfig) -> Store:
    """The store that the configuration names; does no I/O."""
    if config.file is not None:
        return SqliteStore(config.file)
    if config.blob_connection_string is None:
        raise ValueError("neither a checkpoint file nor Blob Storage is configured")
    return BlobStore(
        open_container(config.blob_connection_string, config.container, config.ca_file)
    )
