"""The checkpoint stores: the SDK's CheckpointStore, with fenced writes.

The SDK needs four operations of a store, for its load balancing and its start positions. Our own
writes need more than its ``update_checkpoint``, which overwrites whatever is there: a replica that
lost a partition, and does not know it yet, would put the checkpoint back. So each claim writes a
fencing token of its own into the checkpoint, the writer's name, and a write succeeds only while
that name is still there.

The stores are the SDK's *synchronous* ones. Both the SDK's load balancer (from its own thread) and
our checkpoint writer call them through ``trio.to_thread``. So a store that hangs holds up a worker
thread and nothing else, and the writer does not depend on the receiver.
"""

from collections.abc import Mapping
from typing import Protocol

from azure.eventhub import CheckpointStore

from ..model import Position
from .record import Found

Scope = tuple[str, str, str]
"""Namespace, hub and consumer group. Event Hubs ignores the case of their letters."""
Key = tuple[str, str, str, str]
"""Namespace, hub, consumer group and partition."""


class Fenced(Exception):
    """The partition was claimed by somebody else since: its checkpoint is not ours any more."""


class FencedWrites(Protocol):
    """What `Checkpointer` needs of a store."""

    def found(self, scope: Scope) -> Mapping[str, Found]:
        """Read all checkpoints of a consumer group.

        Returns:
            By partition, where it is done up to, or why its checkpoint cannot be used.

        Raises:
            AzureError, sqlite3.Error, OSError: The store fails.
        """

    def create(self, key: Key, position: Position, writer: str = "") -> Position:
        """Write a first checkpoint; one that is there already stays.

        Args:
            key: Of the partition.
            position: The end of what is done, or the position before the first hub event.
            writer: The fencing token of the claim that makes it; none where nobody reads yet.

        Returns:
            The checkpoint that is there now.

        Raises:
            Unusable: The one that is there does not say where to go on.
            AzureError, sqlite3.Error, OSError: The store fails.
        """

    def fence(self, key: Key, writer: str) -> Position:
        """Make the checkpoint the writer's own: from now on the writes of earlier writers fail.

        Args:
            key: Of the partition.
            writer: The fencing token, new for each claim.

        Returns:
            The checkpoint.

        Raises:
            Unusable: The checkpoint does not say where to go on.
            AzureError, sqlite3.Error, OSError: The store fails, or has no such checkpoint.
        """

    def advance(self, key: Key, writer: str, position: Position) -> None:
        """Move the checkpoint forward; one that is at the position or behind it stays.

        One that has vanished, or was damaged, is written again: whoever holds the claim knows how
        far the partition is done.

        Args:
            key: Of the partition.
            writer: The fencing token of the claim.
            position: The end of what is done.

        Raises:
            Fenced: Another writer has claimed the partition since.
            AzureError, sqlite3.Error, OSError: The store fails.
        """

    def replace(self, key: Key, writer: str, position: Position) -> None:
        """Put the checkpoint anywhere, also back: for a stream that is not the one it was made for.

        Args:
            key: Of the partition.
            writer: The fencing token of the claim.
            position: Where to go on.

        Raises:
            Fenced: Another writer has claimed the partition since.
            AzureError, sqlite3.Error, OSError: The store fails.
        """


class Store(CheckpointStore, FencedWrites):
    """A store for the SDK and for us. All calls block; they raise what their library raises."""
