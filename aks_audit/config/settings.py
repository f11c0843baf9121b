"""The configuration: one frozen value, made from the environment before anything else happens.

All settings are read, checked and reported together, so that a wrong deployment fails at its first
start and names everything that is wrong with it, instead of one variable per restart. No other
module of the program reads the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ..audit.filters import Filter
from . import variables
from .addresses import sensitive_in_connection_string, sensitive_in_url
from .checks import ca_file_problem, contradictions
from .environment import Values, read
from .routes import Route
from .values import Exhausted, LogFormat, LogLevel, Secret, StartAt, StartPosition
from .variables import Problem

__all__ = [
    "BlobLocation",
    "CheckpointConfig",
    "CheckpointLocation",
    "Config",
    "ConfigError",
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
    "load",
]


class ConfigError(Exception):
    """The environment is not a valid configuration; str() lists the problems for its author."""

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[str, ...] = ()) -> None:
        super().__init__(problems, warnings)
        self.problems = problems
        self.warnings = warnings
        """Hints: a misspelt name often explains a missing value."""

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [
            f"  {problem.variable}: {problem.wrong}\n    for example {problem.example}"
            for problem in self.problems
        ]
        hints = [f"  hint: {warning}" for warning in self.warnings]
        return "\n".join([f"The configuration has {count}:", *lines, *hints])


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
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None means the built-in ones."""


@dataclass(frozen=True, slots=True)
class BlobLocation:
    """A blob container, and how to reach it."""

    connection_string: Secret
    """The storage account's, in the SDK's format."""
    container: str
    """The container's name."""
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None means the built-in ones."""


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
    rate_events_per_s: float | None
    """The highest lasting rate; None means unlimited."""
    burst: int
    """Events that may go at once before the rate applies."""
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None means the built-in ones."""


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
    """Bytes of events between Event Hubs and the endpoint, prefetch included."""
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


def load(environ: Mapping[str, str]) -> Config:
    """Make the configuration from an environment, or report everything that is wrong with it.

    Its only I/O: it reads the files that variables ending in _FILE name, and looks whether
    SSL_CERT_FILE is there.

    Raises:
        ConfigError: with all problems.

    """
    values = read(environ)
    ca_file = _ca_file(environ)
    problems = [*values.problems, *ca_file_problem(ca_file), *contradictions(values)]
    if problems:
        raise ConfigError(tuple(problems), tuple(values.warnings))
    warnings = list(values.warnings)
    if not values[variables.SINK_URL].has_path:
        warnings.append("WEBSINKURL has no path; Falco's default is /k8s-audit")
    stats_host, stats_port = values[variables.STATS_ADDRESS]
    return Config(
        hub=_hub(values, ca_file),
        checkpoint=_checkpoint(values, ca_file),
        dead_letters=_dead_letter_location(values, ca_file),
        events=_events(values),
        sink=_sink(values, ca_file),
        inflight_max_bytes=values[variables.INFLIGHT_BYTES],
        shutdown_grace_s=values[variables.SHUTDOWN_GRACE],
        stats=StatsConfig(host=stats_host, port=stats_port),
        log=LogConfig(level=_level(values), format=values.find(variables.LOG_FORMAT)),
        warnings=tuple(warnings),
    )


def _ca_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file that OpenSSL's own variable names; all clients are told of it."""
    name = environ.get("SSL_CERT_FILE")
    return Path(name) if name else None


def _level(values: Values) -> LogLevel:
    return values.find(variables.VERBOSE_LEVEL) or values[variables.LOG_LEVEL]


def _hub(values: Values, ca_file: Path | None) -> HubConfig:
    address, name = values[variables.EHUB], values[variables.EVENT_HUB_NAME]
    if address.entity_path and variables.EVENT_HUB_NAME.name not in values.given:
        name = address.entity_path
    return HubConfig(
        connection_string=address.connection_string,
        namespace=address.namespace,
        name=name,
        consumer_group=values[variables.CONSUMER_GROUP],
        start_position=values[variables.START_POSITION],
        ca_file=ca_file,
    )


def _checkpoint(values: Values, ca_file: Path | None) -> CheckpointConfig:
    file = values.find(variables.CHECKPOINT_FILE)
    return CheckpointConfig(
        location=_blob_location(values, ca_file) if file is None else SqliteFile(file),
        interval_s=values[variables.CHECKPOINT_INTERVAL],
    )


def _dead_letter_location(values: Values, ca_file: Path | None) -> DeadLetterLocation:
    """Return the store of the dead letters: their own, or one beside the checkpoints."""
    path, file = values.find(variables.DEAD_LETTER_PATH), values.find(variables.CHECKPOINT_FILE)
    if path is not None:
        return Directory(path)
    if file is not None:
        return Directory(file.with_name(f"{file.name}.deadletters"))
    return _blob_location(values, ca_file)


def _blob_location(values: Values, ca_file: Path | None) -> BlobLocation:
    return BlobLocation(
        connection_string=values[variables.BLOB_STORAGE],
        container=values[variables.BLOB_CONTAINER],
        ca_file=ca_file,
    )


def _events(values: Values) -> EventsConfig:
    return EventsConfig(
        salvage=values[variables.SALVAGE],
        dedup_window=values[variables.DEDUP_WINDOW],
        annotate_cluster=values[variables.CLUSTER_NAME],
        routes=values.find(variables.ROUTES) or (),
        filters=values.find(variables.FILTERS),
    )


def _sink(values: Values, ca_file: Path | None) -> SinkConfig:
    address = values[variables.SINK_URL]
    return SinkConfig(
        url=address.url,
        display_url=address.display,
        max_retries=values[variables.POST_MAX_RETRIES],
        retry_delay_s=values[variables.POST_RETRY_DELAY],
        exhausted=values[variables.POST_EXHAUSTED],
        timeout_s=values[variables.POST_TIMEOUT],
        concurrency=values[variables.POST_CONCURRENCY],
        batch_max_events=values[variables.POST_BATCH_EVENTS],
        batch_max_bytes=values[variables.POST_BATCH_BYTES],
        max_event_bytes=min(values[variables.MAX_EVENT_BYTES], values[variables.POST_BATCH_BYTES]),
        keepalive=values[variables.KEEPALIVE],
        rate_events_per_s=values.find(variables.RATE),
        burst=values[variables.BURST],
        ca_file=ca_file,
    )
