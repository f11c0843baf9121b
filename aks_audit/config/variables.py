"""The environment's variables, declared once, and how their texts are found.

The parser, the messages, docs/configuration.md and .envrc.example all follow from this table (a
test holds the last two against it). Names are matched without regard to case, since the same
settings have gone by EventHubName and by EVENTHUBNAME, and each has a twin that ends in _FILE and
names a file, as Kubernetes mounts secrets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..audit import filters
from . import addresses as connstr
from . import parsers as parse
from . import routes
from .values import Exhausted, LogFormat, LogLevel, Secret, StartPosition

T_co = TypeVar("T_co", covariant=True)

MAX_BODY_BYTES = 12 << 20
"""Falco's k8saudit webhook refuses larger bodies."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what would be right."""

    variable: str
    """Its name, in upper case."""
    wrong: str
    """What is wrong; never holds anything of a secret."""
    example: str
    """A right value."""


@dataclass(frozen=True, slots=True)
class Variable(Generic[T_co]):
    """One row of the table."""

    name: str
    parse: Callable[[str], T_co]
    default: str | None
    """As one would write it; None where there is nothing to write."""
    doc: str
    """One or two sentences, with unit and range."""
    example: str
    absent: str = "none"
    """What no default means."""
    secret: bool = False
    required: bool = False


EHUB = Variable(
    "EHUBNAMESPACECONNECTIONSTRING",
    connstr.hub_connection_string,
    None,
    "Connection string of the Event Hubs namespace; the policy needs Listen only.",
    "Endpoint=sb://myhubs.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=KEY",
    absent="required",
    secret=True,
    required=True,
)
EVENT_HUB_NAME = Variable(
    "EVENTHUBNAME",
    parse.hub_name,
    "insights-logs-kube-audit",
    "The event hub. An EntityPath in the connection string names it as well, and has to agree.",
    "insights-logs-kube-audit",
)
BLOB_STORAGE: Variable[Secret | None] = Variable(
    "BLOBSTORAGECONNECTIONSTRING",
    connstr.blob_connection_string,
    None,
    "Connection string of the storage account that keeps the checkpoints.",
    "DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey=KEY;"
    "EndpointSuffix=core.windows.net",
    absent="required unless CHECKPOINTFILE is set",
    secret=True,
)
BLOB_CONTAINER = Variable(
    "BLOBCONTAINERNAME",
    parse.container_name,
    "kubeauditlogcontainer",
    "The blob container of the checkpoints.",
    "kubeauditlogcontainer",
)
CHECKPOINT_FILE: Variable[Path | None] = Variable(
    "CHECKPOINTFILE",
    parse.file_path,
    None,
    "A SQLite file for the checkpoints instead of Blob Storage: for local runs of one instance.",
    "./checkpoints.sqlite",
)
SINK_URL = Variable(
    "WEBSINKURL",
    connstr.sink_url,
    None,
    "Where to post, http or https; Falco's default path is /k8s-audit. May hold credentials.",
    "http://falco-k8saudit-webhook.falco:9765/k8s-audit",
    absent="required",
    secret=True,
    required=True,
)
CONSUMER_GROUP = Variable(
    "CONSUMERGROUP",
    parse.consumer_group,
    "$Default",
    "The consumer group; no other program may read with it.",
    "$Default",
)
START_POSITION: Variable[StartPosition] = Variable(
    "STARTPOSITION",
    parse.start_position,
    "latest",
    "Where a partition without a checkpoint begins: latest, earliest or an RFC 3339 time.",
    "2024-05-01T00:00:00Z",
)
POST_MAX_RETRIES = Variable(
    "POSTMAXRETRIES",
    parse.integer(0, 1000),
    "5",
    "Retries after a first attempt that failed: 0 to 1000.",
    "5",
)
POST_RETRY_DELAY = Variable(
    "POSTRETRYINCREMENTALDELAY",
    parse.duration(1, 600_000),
    "1000",
    "Milliseconds, 1 to 600000: the n-th retry waits n times as long.",
    "1000",
)
POST_EXHAUSTED: Variable[Exhausted] = Variable(
    "POSTEXHAUSTED",
    parse.exhausted,
    "hold",
    "What follows the last retry: hold (keep the event and go on probing), deadletter (keep it "
    "aside, for aks-audit-log replay) or drop (lose it).",
    "hold",
)
DEAD_LETTER_PATH: Variable[Path | None] = Variable(
    "DEADLETTERPATH",
    parse.file_path,
    None,
    "A directory for the dead letters instead of Blob Storage.",
    "./deadletters",
    absent="the blob container; with CHECKPOINTFILE, a directory beside that file",
)
MAX_EVENT_BYTES = Variable(
    "MAXEVENTBYTES",
    parse.size(1 << 10, MAX_BODY_BYTES),
    "256 KiB",  # plugin k8saudit drops larger items, after it has answered 200
    "Bytes of one audit event, 1 KiB to 12 MiB and at most POSTBATCHMAXBYTES: Falco drops larger "
    "ones without a word, so they become dead letters.",
    "256 KiB",
)
SALVAGE = Variable(
    "SALVAGE",
    parse.boolean,
    "true",
    "Whether audit events that come cut are rebuilt from what is there, or become dead letters.",
    "true",
)
DEDUP_WINDOW = Variable(
    "DEDUPWINDOW",
    parse.integer(0, 10_000_000),
    "65536",
    "Audit events that are remembered, so that a copy is not posted again; 0 posts every copy. "
    "Each takes 200 bytes of memory, 400 where it comes alone in its hub event.",
    "65536",
)
CLUSTER_NAME = Variable(
    "CLUSTERNAME",
    parse.cluster_name,
    "off",
    "annotate adds the AKS cluster's name to each event as annotations.cluster_name, which Falco "
    "reads as ka.cluster.name; off posts events as they are.",
    "annotate",
)
ROUTES: Variable[tuple[routes.Route, ...]] = Variable(
    "ROUTES",
    routes.parse,
    None,
    "Other webhooks for some clusters or categories: TOML, see docs/events.md. Usually by "
    "ROUTES_FILE.",
    'route = [{cluster = "prod-*", url = "http://falco.prod:9765/k8s-audit"}]',
    secret=True,
)
FILTERS: Variable[filters.Filter | None] = Variable(
    "FILTERS",
    filters.parse,
    None,
    "Which audit events to keep or drop: rules, see docs/events.md. Usually by FILTERS_FILE.",
    "drop resource=leases verb=get,update",
)
POST_TIMEOUT = Variable(
    "POSTTIMEOUT",
    parse.duration(100, 600_000),
    "30000",
    "Milliseconds for one attempt, 100 to 600000.",
    "30000",
)
POST_CONCURRENCY = Variable(
    "POSTCONCURRENCY",
    parse.integer(1, 64),
    "4",  # keeps up with a webhook that answers in 10 ms, and mostly in 50 ms: docs/performance.md
    "Posts under way at once, 1 to 64.",
    "4",
)
POST_BATCH_EVENTS = Variable(
    "POSTBATCHMAXEVENTS",
    parse.integer(1, 10_000),
    # kube-apiserver's own webhook batches hold at most as many; 100 cost a quarter more CPU, 1000
    # hardly less (docs/performance.md), and a larger batch is more to send again.
    "400",
    "Events in one post, 1 to 10000; 1 posts each by itself.",
    "400",
)
POST_BATCH_BYTES = Variable(
    "POSTBATCHMAXBYTES",
    parse.size(1 << 10, MAX_BODY_BYTES),
    "8 MiB",
    "Bytes in one post, 1 KiB to 12 MiB (Falco refuses more) and at most INFLIGHTMAXBYTES.",
    "8 MiB",
)
KEEPALIVE = Variable(
    "KEEPALIVE",
    parse.boolean,
    "true",
    "Whether connections to the endpoint are used again: true or false.",
    "true",
)
RATE: Variable[float | None] = Variable(
    "RATELIMITEREVENTSPERSECONDS",
    parse.rate(1_000_000),
    None,
    "Events per second that are posted at most, up to 1000000; 0 is unlimited.",
    "500",
    absent="unlimited",
)
BURST = Variable(
    "RATELIMITERBURST",
    parse.integer(1, 1_000_000),
    "50",
    "Events that may go at once before the rate applies, 1 to 1000000.",
    "50",
)
INFLIGHT_BYTES = Variable(
    "INFLIGHTMAXBYTES",
    parse.size(1 << 20, 16 << 30),
    "64 MiB",
    "Bytes of events held in memory at most, 1 MiB to 16 GiB.",
    "64 MiB",
)
CHECKPOINT_INTERVAL = Variable(
    "CHECKPOINTINTERVAL",
    parse.duration(100, 600_000),
    "5000",
    "Milliseconds between checkpoints, 100 to 600000.",
    "5000",
)
SHUTDOWN_GRACE = Variable(
    "SHUTDOWNGRACE",
    parse.duration(0, 600_000),
    "20000",
    "Milliseconds to deliver what is in flight after a signal, 0 to 600000.",
    "20000",
)
STATS_ADDRESS = Variable(
    "STATSADDRESS",
    parse.listen_address,
    "0.0.0.0:9000",
    "Where metrics and health are served; port 0 takes a free one.",
    "127.0.0.1:9000",
)
LOG_LEVEL = Variable(
    "LOGLEVEL",
    parse.log_level,
    "info",
    "The least severe level that is logged: panic, fatal, error, warn, info, debug or trace.",
    "info",
)
VERBOSE_LEVEL: Variable[LogLevel | None] = Variable(
    "VERBOSELEVEL",
    parse.verbose_level,
    None,
    "Sysdig's way to say LOGLEVEL: 1 (error), 2 (warn), 3 (info) or 4 (debug).",
    "3",
)
LOG_FORMAT: Variable[LogFormat | None] = Variable(
    "LOGFORMAT",
    parse.log_format,
    None,
    "How log lines look: json or console.",
    "json",
    absent="json; console on a terminal",
)

VARIABLES: tuple[Variable[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Variable)
)
"""All of the above, in their order."""
