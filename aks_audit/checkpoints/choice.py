"""Which checkpoint store the configuration names."""

from ..config.settings import BlobLocation, CheckpointLocation, SqliteFile
from ..storage import open_container
from .blob import BlobStore
from .sqlite import SqliteStore
from .store import Store


def open_store(location: CheckpointLocation) -> Store:
    """Make the store at a location; does no I/O."""
    match location:
        case SqliteFile(path):
            return SqliteStore(path)
        case BlobLocation():
            return BlobStore(open_container(location))
