"""Makes the configuration from the environment, before anything else happens.

All settings are read, checked and reported together, so that a wrong deployment fails at its first
start and names everything that is wrong with it, instead of one variable per restart. No other
module of the program reads the environment.
"""

from collections.abc import Mapping
from pathlib import Path

from . import variables
from .checks import ca_file_problem, contradictions
from .environment import Values, read
from .settings import (
    BlobLocation,
    CheckpointConfig,
    Config,
    DeadLetterLocation,
    Directory,
    EventsConfig,
    HubConfig,
    LogConfig,
    LogLevel,
    SinkConfig,
    SqliteFile,
    StatsConfig,
)
from .variables import Problem


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


def load(environ: Mapping[str, str]) -> Config:
    """Make the configuration from an environment, or report everything that is wrong with it.

    Its only I/O: it reads the files that variables ending in _FILE name, and the one
    that SSL_CERT_FILE names.

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
        stream_reset=values[variables.STREAM_RESET],
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
        indoubt_bodies=values[variables.INDOUBT_BODIES],
        indoubt_s=values[variables.INDOUBT_TIME],
        rate_events_per_s=values.find(variables.RATE),
        burst=values[variables.BURST],
        ca_file=ca_file,
    )
