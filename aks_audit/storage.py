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
from azure.core.pipeline import PipelineResponse
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

CALL_S = 30.0
"""How long a call may take, its wait for a thread included, before it is given up. `TIMEOUTS` end
a request to Blob Storage before that; nothing ends one to a disk that does not answer."""

STORE_ERRORS = (AzureError, sqlite3.Error, OSError)
"""What the stores raise when they fail."""

REQUEST_ID = "x-ms-request-id"
"""Blob Storage puts this header on each of its answers
(https://learn.microsoft.com/rest/api/storageservices/common-rest-api-request-and-response-headers).
"""
SERVER_ERRORS = 500
"""From this status on an answer is an error, whoever gives it."""

T = TypeVar("T")


def believe_only_blob_storage(response: PipelineResponse[Any, Any]) -> None:
    """Raise AzureError for an answer that Blob Storage has not given.

    A proxy or a captive portal answers 200 with a page of its own, and the client takes that for
    what it asked for: a checkpoint that is written, a container without dead letters. A 404 or a
    412 of theirs says nothing of the blob either.
    """
    answer = response.http_response
    if answer.status_code < SERVER_ERRORS and REQUEST_ID not in answer.headers:
        kind = answer.headers.get("Content-Type", "no content type")
        raise AzureError(
            f"the answer {answer.status_code} ({kind}) is not Blob Storage's:"
            " is a proxy in between?"
        )


def open_container(location: BlobLocation) -> ContainerClient:
    """Make the client of a container; does no I/O."""
    options = {**TIMEOUTS, "raw_response_hook": believe_only_blob_storage}
    if location.ca_file is not None:
        options["connection_verify"] = bundle(location.ca_file)
    return ContainerClient.from_connection_string(
        location.connection_string.reveal(), location.container, **options
    )


async def call(
    limiter: trio.CapacityLimiter,
    function: Callable[..., T],
    *args: Any,
    within_s: float = CALL_S,
) -> T:
    """Call a store on a worker thread. Raises Retryable when the store fails, or is silent.

    A call that is given up goes on, on its thread, and keeps its place with the limiter until it
    ends: so no more threads hang than the limiter has places. What it does later harms nothing.
    A checkpoint is fenced and does not go back, an ownership is fenced by its ETag, and a dead
    letter is written again under the same name, with the same content.

    Args:
        limiter: Bounds the threads; it has to outlive the calls, and whoever makes them.
        function: Blocks.
        args: For the function.
        within_s: Seconds until the call is given up.
    """
    work = partial(function, *args)
    try:
        with trio.move_on_after(within_s):
            return await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)
    except STORE_ERRORS as error:
        raise Retryable(explain(error)) from error
    raise Retryable(f"the store has given no answer in {within_s:g} s")


def explain(error: BaseException) -> str:
    """What went wrong with a store, and what to do where that is known."""
    if getattr(error, "error_code", None) == "ContainerNotFound":
        return "the blob container that BLOBCONTAINERNAME names does not exist: create it"
    return describe(error)
