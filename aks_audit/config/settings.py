"""The configuration as the program uses it: frozen groups of values, with units in their names.

`load` makes them from the environment.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..audit.filters import Filter
from .addresses import sensitive_in_connection_string, sensitive_in_url
from .routes import Route
from .values import Exhausted, LogFormat, LogLevel, Secret, StartAt, StartPosition, StreamReset

__all__ = [
    "BlobLocation",
    "CheckpointConfig",
    "CheckpointLocation",
    "Config",
    "DeadLetterLocation",
    "Directory",
    "EventsConfig",
    "Exhausted",
    "HubConfig",
    "LogConfig",
    "LogLevel",
    "Secret",
    "SinkConfig",
    "SqliteFile",
    "StartAt",
    "StatsConfig",
    "StreamReset",
]


@dataclass(frozen=True, slots=True)
class HubConfig:
    """The event hub that is read."""

    connection_string: Secret
    """In the SDK's format."""
    namespace: str
    """As the SDK names it, with the port if any: "x.servicebus.windows.net", "localhost:5999"."""
    name: str
    """The event hub within the namespace."""
    consumer_group: str
    """The consumer group whose partitions are claimed."""
    start_position: StartPosition
    """Used only where a partition has no checkpoint."""
    stream_reset: StreamReset
    """Used only where a partition's stream is not the one of its checkpoint."""
    ca_file: Path | None = None
    """Certificate authorities to trust beside the public ones, from SSL_CERT_FILE."""


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """A blob container, and how to reach it."""

    connection_string: Secret
    """The storage account's, in the SDK's format."""
    container: str
    """The container's name."""
    ca_file: Path | None = None
    """Certificate authorities to trust beside the public ones, from SSL_CERT_FILE."""


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A database file on this machine; it need not exist yet."""

    path: Path


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory on this machine; it need not exist yet."""

    path: Path


CheckpointLocation: TypeAlias = BlobLocation | SqliteFile
"""Where checkpoints are stored."""
DeadLetterLocation: TypeAlias = BlobLocation | Directory
"""Where dead letters are stored."""


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Where checkpoints are stored, and how often."""

    location: CheckpointLocation
    """The store."""
    interval_s: float
    """The longest time between progress and its checkpoint."""


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """What is done to audit events between the hub and the endpoint."""

    salvage: bool
    """Whether audit events that arrive cut are rebuilt."""
    dedup_window: int
    """How many audit events are remembered to recognise copies; 0 posts every copy."""
    annotate_cluster: bool
    """Whether the cluster's name is added."""
    routes: tuple[Route, ...]
    """Other webhooks for some clusters or categories."""
    filters: Filter | None
    """Which events to drop; None drops none."""


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """The endpoint that receives the audit events, and how they are posted to it."""

    url: Secret
    """The whole URL, which may hold credentials."""
    display_url: str
    """The URL without user information, query and fragment: what may be shown."""
    max_retries: int
    """Retries after the first attempt."""
    retry_delay_s: float
    """Grows linearly: the n-th retry waits n times as long."""
    exhausted: Exhausted
    """What happens after the last retry."""
    timeout_s: float
    """For one attempt, from connecting to the head of the answer."""
    concurrency: int
    """Posts in flight at once."""
    batch_max_events: int
    """Events in one body."""
    batch_max_bytes: int
    """Bytes in one body."""
    max_event_bytes: int
    """Bytes of one event; a larger one becomes a dead letter."""
    keepalive: bool
    """Whether connections are used again."""
    indoubt_bodies: int
    """Later bodies after which the endpoint must have processed one; 0: nothing is in doubt."""
    indoubt_s: float
    """The quiet time after which it must have processed all; 0: nothing is in doubt."""
    rate_events_per_s: float | None
    """The highest lasting rate; None means unlimited."""
    burst: int
    """Events that may go at once before the rate applies."""
    ca_file: Path | None = None
    """Certificate authorities to trust beside the public ones, from SSL_CERT_FILE."""


@dataclass(frozen=True, slots=True)
class StatsConfig:
    """Where metrics, health and status are served."""

    host: str
    """An IP address or host name, IPv6 without brackets."""
    port: int
    """0 takes any free port."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how it looks."""

    level: LogLevel
    """The least severe level that is written."""
    format: LogFormat | None
    """None chooses by the stream: console on a terminal, json elsewhere."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of the program."""

    hub: HubConfig
    checkpoint: CheckpointConfig
    dead_letters: DeadLetterLocation
    events: EventsConfig
    sink: SinkConfig
    inflight_max_bytes: int
    """Bytes of events in memory, those among them that were received and not yet taken."""
    shutdown_grace_s: float
    """How long the senders may drain after a signal."""
    stats: StatsConfig
    log: LogConfig
    warnings: tuple[str, ...]
    """What may be a mistake; to be logged."""

    def secret_values(self) -> frozenset[str]:
        """Return every text that must not be shown, so that the log can mask them."""
        found = {*sensitive_in_connection_string(self.hub.connection_string)}
        for location in (self.checkpoint.location, self.dead_letters):
            if isinstance(location, BlobLocation):
                found.update(sensitive_in_connection_string(location.connection_string))
        for url in (self.sink.url, *(route.url.url for route in self.events.routes)):
            found.update(sensitive_in_url(url))
        return frozenset(found - {""})
