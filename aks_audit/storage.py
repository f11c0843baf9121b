"""The blob container of the checkpoints and the dead letters."""

from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerClient

from .config.settings import Secret

# With the SDK's defaults a store that refuses connections blocks a call for 87 s, a silent
# one for 322 s (measured); these bound a call to some 15 s. We try again ourselves.
TIMEOUTS: dict[str, Any] = {
    "retry_total": 1,
    "initial_backoff": 1,  # seconds; the SDK's own 15 would be most of the call
    "random_jitter_range": 1,
    "connection_timeout": 2,
    "read_timeout": 5,
}


def open_container(
    connection_string: Secret, container: str, ca_file: Path | None
) -> ContainerClient:
    """The container; does no I/O. ``ca_file`` holds the authorities to trust, if not the usual."""
    verify: dict[str, Any] = {"connection_verify": str(ca_file)} if ca_file is not None else {}
    return ContainerClient.from_connection_string(
        connection_string.reveal(), container, **TIMEOUTS, **verify
    )
