"""The configuration: one frozen value made from the environment before anything else happens.

Everything the program can be told is read here, checked here and reported here, all problems at
once, so that a wrong deployment fails at once and completely instead of one variable per restart.
No other module reads the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..audit.filters import Filter
from . import variables as env
from .addresses import sensitive_in_connection_string, sensitive_in_url
from .environment import Values, read
from .routes import Route
from .values import Exhausted, LogFormat, LogLevel, Secret, StartAt, StartPosition
from .variables import Problem

__all__ = [
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "DeadLetterConfig",
    "EventsConfig",
    "Exhausted",
    "HubConfig",
    "LogConfig",
    "LogFormat",
    "LogLevel",
    "Problem",
    "Secret",
    "SinkConfig",
    "StartAt",
    "StartPosition",
    "StatsConfig",
    "load",
]


class ConfigError(Exception):
    """The environment is not a configuration; its text is for whoever wrote the environment."""

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[str, ...] = ()) -> None:
        super().__init__(problems, warnings)
        self.problems = problems
        self.warnings = warnings
        """Hints beside the problems: a misspelt name often explains a missing value."""

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
    """As the SDK takes it."""
    namespace: str
    """Fully qualified, as the SDK sees it: "x.servicebus.windows.net" or "localhost:5999"."""
    name: str
    """The hub within the namespace."""
    consumer_group: str
    """The consumer group whose partitions are claimed."""
    start_position: StartPosition
    """Used only where a partition has no checkpoint."""
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None is the built-in ones."""


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Where progress is kept: exactly one of Blob Storage and a file."""

    blob_connection_string: Secret | None
    """As the storage SDK takes it; None when a file is used."""
    container: str
    """The blob container."""
    file: Path | None
    """A SQLite file; None when Blob Storage is used."""
    interval_s: float
    """The longest time between progress and its checkpoint."""
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None is the built-in ones."""


@dataclass(frozen=True, slots=True)
class DeadLetterConfig:
    """Where undeliverable events are kept: exactly one of Blob Storage and a directory."""

    blob_connection_string: Secret | None
    """As the storage SDK takes it; None when a directory is used."""
    container: str
    """The blob container."""
    path: Path | None
    """A directory; None when Blob Storage is used."""
    ca_file: Path | None = None
    """The certificate authorities to trust, from SSL_CERT_FILE; None is the built-in ones."""


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """What is done to audit events between the hub and the endpoint."""

    salvage: bool
    """Whether cut events are rebuilt."""
    dedup_window: int
    """Events remembered to know copies by; 0 is none."""
    annotate_cluster: bool
    """Whether the cluster's name is added."""
    routes: tuple[Route, ...]
    """Webhooks for some clusters or categories."""
    filters: Filter | None
    """Which events to drop; None is none."""


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """The endpoint that is posted to, and how."""

    url: Secret
    """The whole URL, which may hold credentials."""
    display_url: str
    """The URL without user information, query and fragment: what may be shown."""
    max_retries: int
    """Retries after the first attempt."""
    retry_delay_s: float
    """Grows linearly: the n-th retry waits n times as long."""
    exhausted: Exhausted
    """What follows the last retry."""
    timeout_s: float
    """For one attempt, from connecting to the end of the answer."""
    concurrency: int
    """Posts under way at once."""
    batch_max_events: int
    """Events in one body."""
    batch_max_bytes: int
    """Bytes in one body."""
    max_event_bytes: int
    """Bytes of one event: a larger one becomes a dead letter."""
    keepalive: bool
    """Whether connections are used again."""
    rate_events_per_s: float | None
    """The highest lasting rate; None is unlimited."""
    burst: int
    """Events that may go at once before the rate applies."""


@dataclass(frozen=True, slots=True)
class StatsConfig:
    """Where metrics, health and status are served."""

    host: str
    """An address or host name, IPv6 without brackets."""
    port: int
    """0 takes any free port."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how it looks."""

    level: LogLevel
    """The least severe level that is written."""
    format: LogFormat | None
    """None decides by the stream: console on a terminal, json elsewhere."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the program was told."""

    hub: HubConfig
    checkpoint: CheckpointConfig
    dead_letters: DeadLetterConfig
    events: EventsConfig
    sink: SinkConfig
    inflight_max_bytes: int
    """Bytes of events between Event Hubs and the endpoint, prefetch included."""
    shutdown_grace_s: float
    """How long the senders may drain after a signal."""
    stats: StatsConfig
    log: LogConfig
    warnings: tuple[str, ...]
    """What looks like a mistake but is none for sure; to be logged."""

    def secret_values(self) -> frozenset[str]:
        """Give every text that must not be shown, for the log's masking to know them."""
        found = {*sensitive_in_connection_string(self.hub.connection_string)}
        found.update(sensitive_in_url(self.sink.url))
        for route in self.events.routes:
            found.update(sensitive_in_url(route.url.url))
        if self.checkpoint.blob_connection_string is not None:
            found.update(sensitive_in_connection_string(self.checkpoint.blob_connection_string))
        return frozenset(found - {""})


def load(environ: Mapping[str, str]) -> Config:
    """Make the configuration from an environment, or report everything that is wrong with it.

    Reads the files that variables ending in _FILE name, and does no other I/O.
    """
    values = read(environ)
    ca_file = _ca_file(environ, values)
    _check_hub(values)
    _check_checkpoint(values)
    _check_sizes(values)
    _check_level(values)
    if values.problems:
        raise ConfigError(tuple(values.problems), tuple(values.warnings))
    sink_url = values[env.SINK_URL]
    if not sink_url.has_path:
        values.warnings.append("WEBSINKURL has no path; Falco's default is /k8s-audit")
    stats_host, stats_port = values[env.STATS_ADDRESS]
    return Config(
        hub=_hub(values, ca_file),
        checkpoint=_checkpoint(values, ca_file),
        dead_letters=_dead_letters(values, ca_file),
        events=_events(values),
        sink=_sink(values),
        inflight_max_bytes=values[env.INFLIGHT_BYTES],
        shutdown_grace_s=values[env.SHUTDOWN_GRACE],
        stats=StatsConfig(host=stats_host, port=stats_port),
        log=LogConfig(level=_level(values), format=values[env.LOG_FORMAT]),
        warnings=tuple(values.warnings),
    )


def _ca_file(environ: Mapping[str, str], values: Values) -> Path | None:
    """OpenSSL's own variable. httpx reads it by itself; the SDKs have to be told."""
    name = environ.get("SSL_CERT_FILE", "")
    if not name:
        return None
    if not Path(name).is_file():
        wrong = "names no file of certificate authorities"
        values.problems.append(
            Problem("SSL_CERT_FILE", wrong, "/etc/ssl/certs/ca-certificates.crt")
        )
    return Path(name)


def _check_hub(values: Values) -> None:
    """The hub may be named twice, but not differently; Event Hubs knows no case."""
    address, name = values.find(env.EHUB), values.find(env.EVENT_HUB_NAME)
    named_twice = env.EVENT_HUB_NAME.name in values.given and address and address.entity_path
    if named_twice and name and named_twice.lower() != name.lower():
        values.report(
            env.EVENT_HUB_NAME, f"differs from the EntityPath in {env.EHUB.name}: leave one out"
        )


def _check_checkpoint(values: Values) -> None:
    blob = env.BLOB_STORAGE.name in values.given
    file = env.CHECKPOINT_FILE.name in values.given
    if blob and file:
        values.report(
            env.CHECKPOINT_FILE, f"is set, and {env.BLOB_STORAGE.name} as well: unset one of them"
        )
    elif not blob and not file:
        values.report(
            env.BLOB_STORAGE, f"is not set (set {env.CHECKPOINT_FILE.name} instead for a local run)"
        )


def _check_sizes(values: Values) -> None:
    batch, inflight = values.find(env.POST_BATCH_BYTES), values.find(env.INFLIGHT_BYTES)
    if batch is not None and inflight is not None and batch > inflight:
        values.report(env.POST_BATCH_BYTES, f"is larger than {env.INFLIGHT_BYTES.name}")
    event = values.find(env.MAX_EVENT_BYTES)
    given = env.MAX_EVENT_BYTES.name in values.given
    if given and batch is not None and event is not None and event > batch:
        values.report(env.MAX_EVENT_BYTES, f"is larger than {env.POST_BATCH_BYTES.name}")


def _check_level(values: Values) -> None:
    level, verbose = values.find(env.LOG_LEVEL), values.find(env.VERBOSE_LEVEL)
    if env.LOG_LEVEL.name in values.given and level and verbose and level != verbose:
        values.report(
            env.VERBOSE_LEVEL, f"means another level than {env.LOG_LEVEL.name}: unset one of them"
        )


def _level(values: Values) -> LogLevel:
    return values[env.VERBOSE_LEVEL] or values[env.LOG_LEVEL]


def _hub(values: Values, ca_file: Path | None) -> HubConfig:
    address, name = values[env.EHUB], values[env.EVENT_HUB_NAME]
    if address.entity_path and env.EVENT_HUB_NAME.name not in values.given:
        name = address.entity_path
    return HubConfig(
        connection_string=address.connection_string,
        namespace=address.namespace,
        name=name,
        consumer_group=values[env.CONSUMER_GROUP],
        start_position=values[env.START_POSITION],
        ca_file=ca_file,
    )


def _checkpoint(values: Values, ca_file: Path | None) -> CheckpointConfig:
    return CheckpointConfig(
        blob_connection_string=values[env.BLOB_STORAGE],
        container=values[env.BLOB_CONTAINER],
        file=values[env.CHECKPOINT_FILE],
        interval_s=values[env.CHECKPOINT_INTERVAL],
        ca_file=ca_file,
    )


def _dead_letters(values: Values, ca_file: Path | None) -> DeadLetterConfig:
    path, file = values[env.DEAD_LETTER_PATH], values[env.CHECKPOINT_FILE]
    if path is None and file is not None:
        path = file.with_name(f"{file.name}.deadletters")
    return DeadLetterConfig(
        blob_connection_string=None if path else values[env.BLOB_STORAGE],
        container=values[env.BLOB_CONTAINER],
        path=path,
        ca_file=ca_file,
    )


def _events(values: Values) -> EventsConfig:
    return EventsConfig(
        salvage=values[env.SALVAGE],
        dedup_window=values[env.DEDUP_WINDOW],
        annotate_cluster=values[env.CLUSTER_NAME],
        routes=values[env.ROUTES] or (),
        filters=values[env.FILTERS],
    )


def _sink(values: Values) -> SinkConfig:
    address = values[env.SINK_URL]
    return SinkConfig(
        url=address.url,
        display_url=address.display,
        max_retries=values[env.POST_MAX_RETRIES],
        retry_delay_s=values[env.POST_RETRY_DELAY],
        exhausted=values[env.POST_EXHAUSTED],
        timeout_s=values[env.POST_TIMEOUT],
        concurrency=values[env.POST_CONCURRENCY],
        batch_max_events=values[env.POST_BATCH_EVENTS],
        batch_max_bytes=values[env.POST_BATCH_BYTES],
        max_event_bytes=min(values[env.MAX_EVENT_BYTES], values[env.POST_BATCH_BYTES]),
        keepalive=values[env.KEEPALIVE],
        rate_events_per_s=values[env.RATE],
        burst=values[env.BURST],
    )
