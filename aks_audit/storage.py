"""One blob container, its timeouts, and every blocking call to a store.

The stores' libraries block, and raise errors of their own. Here a call goes to a worker
thread, and what it raises becomes Retryable: the checkpoint writer, the dead-letter writer
and the load balancing all react in the same way to a store that fails.
"""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import trio
from azure.core.exceptions import AzureError
from azure.storage.blob import ContainerClient

from .config.authorities import bundle
from .config.settings import BlobLocation
from .errors import Retryable, describe

# With the SDK's defaults a store that refuses connections blocks a call for 87 s, a silent
# one for 322 s (measured); these bound a call to some 15 s. We try again ourselves.
TIMEOUTS: dict[str, Any] = {
    "retry_total": 1,
    "initial_backoff": 1,  # seconds; the SDK's own 15 would be most of the call
    "random_jitter_range": 1,
    "connection_timeout": 2,
    "read_timeout": 5,
}

STORE_ERRORS = (AzureError, sqlite3.Error, OSError)
"""What the stores raise when they fail."""

T = TypeVar("T")


def open_container(location: BlobLocation) -> ContainerClient:
    """Make the client of a container; does no I/O."""
    options = dict(TIMEOUTS)
    if location.ca_file is not None:
        options["connection_verify"] = bundle(location.ca_file)
    return ContainerClient.from_connection_string(
        location.connection_string.reveal(), location.container, **options
    )


async def call(limiter: trio.CapacityLimiter, function: Callable[..., T], *args: Any) -> T:
    """Call a store on a worker thread. Raises Retryable when the store fails."""
    try:
        return await trio.to_thread.run_sync(partial(function, *args), limiter=limiter)
    except STORE_ERRORS as error:
        raise Retryable(explain(error)) from error


def explain(error: BaseException) -> str:
    """What went wrong with a store, and what to do where that is known."""
    if getattr(error, "error_code", None) == "ContainerNotFound":
        return "the blob container that BLOBCONTAINERNAME names does not exist: create it"
    return describe(error)
