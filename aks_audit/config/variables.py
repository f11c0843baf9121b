"""The table of all variables: the one place that declares what can be set.

The parsing, the messages, docs/configuration.md and .envrc.example all follow from this table; a
test compares the last two with it. Case does not matter in names, because earlier forwarders call
the same setting EventHubName or EVENTHUBNAME. Each variable has a twin whose name ends in _FILE and
whose value is the path of a file that holds the value, as Kubernetes mounts secrets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..audit import filters
from . import addresses, parsers, routes

T_co = TypeVar("T_co", covariant=True)

MAX_BODY_BYTES = 12 << 20
"""Falco's k8saudit webhook refuses larger bodies."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with an example of a right value."""

    variable: str
    """Its name, in upper case."""
    wrong: str
    """What is wrong with it; never holds any part of a secret."""
    example: str
    """A right value."""


@dataclass(frozen=True, slots=True)
class Variable(Generic[T_co]):
    """One row of the table."""

    name: str
    parse: Callable[[str], T_co]
    default: str | None
    """As it is written in the environment; None for a variable without a default."""
    doc: str
    """Its meaning in one or two sentences, with unit and range."""
    example: str
    """A right value, as messages show it."""
    absent: str = "none"
    """What the documentation says in place of a default, where there is none."""
    secret: bool = False
    """Whether the value is never shown."""
    required: bool = False
    """Whether it has to be set."""


EHUB = Variable(
    "EHUBNAMESPACECONNECTIONSTRING",
    addresses.hub_connection_string,
    None,
    "Connection string of the Event Hubs namespace; the policy needs Listen only.",
    "Endpoint=sb://myhubs.servicebus.windows.net/;SharedAccessKeyName=listen;SharedAccessKey=KEY",
    absent="required",
    secret=True,
    required=True,
)
EVENT_HUB_NAME = Variable(
    "EVENTHUBNAME",
    parsers.hub_name,
    "insights-logs-kube-audit",
    "The event hub. An EntityPath in the connection string names it too; both have to agree.",
    "insights-logs-kube-audit",
)
BLOB_STORAGE = Variable(
    "BLOBSTORAGECONNECTIONSTRING",
    addresses.blob_connection_string,
    None,
    "Connection string of the storage account that keeps the checkpoints.",
    "DefaultEndpointsProtocol=https;AccountName=myaccount;AccountKey=KEY;"
    "EndpointSuffix=core.windows.net",
    absent="required unless CHECKPOINTFILE is set",
    secret=True,
)
BLOB_CONTAINER = Variable(
    "BLOBCONTAINERNAME",
    parsers.container_name,
    "kubeauditlogcontainer",
    "The blob container of the checkpoints.",
    "kubeauditlogcontainer",
)
CHECKPOINT_FILE = Variable(
    "CHECKPOINTFILE",
    parsers.file_path,
    None,
    "A SQLite file for the checkpoints instead of Blob Storage: for local runs of one instance.",
    "./checkpoints.sqlite",
)
SINK_URL = Variable(
    "WEBSINKURL",
    addresses.sink_url,
    None,
    "Where to post, http or https; Falco's default path is /k8s-audit. May hold credentials.",
    "http://falco-k8saudit-webhook.falco:9765/k8s-audit",
    absent="required",
    secret=True,
    required=True,
)
CONSUMER_GROUP = Variable(
    "CONSUMERGROUP",
    parsers.consumer_group,
    "$Default",
    "The consumer group; no other program may read with it.",
    "$Default",
)
START_POSITION = Variable(
    "STARTPOSITION",
    parsers.start_position,
    "latest",
    "Where a partition without a checkpoint begins: latest, earliest or an RFC 3339 time.",
    "2024-05-01T00:00:00Z",
)
STREAM_RESET = Variable(
    "STREAMRESET",
    parsers.stream_reset,
    "earliest",
    "Where a partition goes on when its hub was deleted and made anew, or failed over without its "
    "data: earliest, latest or stop (read it no further, until this is set otherwise).",
    "earliest",
)
POST_MAX_RETRIES = Variable(
    "POSTMAXRETRIES",
    parsers.integer(0, 1000),
    "5",
    "Retries after a first attempt that failed: 0 to 1000.",
    "5",
)
POST_RETRY_DELAY = Variable(
    "POSTRETRYINCREMENTALDELAY",
    parsers.duration(1, 600_000),
    "1000",
    "Milliseconds, 1 to 600000: the n-th retry waits n times as long.",
    "1000",
)
POST_EXHAUSTED = Variable(
    "POSTEXHAUSTED",
    parsers.exhausted,
    "hold",
    "What happens after the last retry: hold (keep the event and go on trying), deadletter (store "
    "it for aks-audit-log replay) or drop (lose it).",
    "hold",
)
DEAD_LETTER_PATH = Variable(
    "DEADLETTERPATH",
    parsers.file_path,
    None,
    "A directory for the dead letters instead of Blob Storage.",
    "./deadletters",
    absent="the blob container; with CHECKPOINTFILE, a directory beside that file",
)
MAX_EVENT_BYTES = Variable(
    "MAXEVENTBYTES",
    parsers.size(1 << 10, MAX_BODY_BYTES),
    "256 KiB",  # plugin k8saudit drops larger items, after it has answered 200
    "Bytes of one audit event, 1 KiB to 12 MiB and at most POSTBATCHMAXBYTES: Falco silently "
    "drops larger ones, so they become dead letters.",
    "256 KiB",
)
SALVAGE = Variable(
    "SALVAGE",
    parsers.boolean,
    "true",
    "true rebuilds audit events that arrive cut, from what is left of them; false makes them dead "
    "letters.",
    "true",
)
DEDUP_WINDOW = Variable(
    "DEDUPWINDOW",
    parsers.integer(0, 10_000_000),
    "65536",
    "How many audit events are remembered, so that a copy is not posted again; 0 posts every copy. "
    "Each takes 200 bytes of memory, 400 where it arrives alone in its hub event.",
    "65536",
)
CLUSTER_NAME = Variable(
    "CLUSTERNAME",
    parsers.cluster_name,
    "off",
    "annotate adds the AKS cluster's name to each event as annotations.cluster_name, which Falco "
    "reads as ka.cluster.name; off posts events as they are.",
    "annotate",
)
ROUTES = Variable(
    "ROUTES",
    routes.parse,
    None,
    "Other webhooks for some clusters or categories: TOML, see docs/events.md. Usually set by "
    "ROUTES_FILE.",
    'route = [{cluster = "prod-*", url = "http://falco.prod:9765/k8s-audit"}]',
    secret=True,
)
FILTERS = Variable(
    "FILTERS",
    filters.parse,
    None,
    "Which audit events to keep or drop: rules, see docs/events.md. Usually set by FILTERS_FILE.",
    "drop resource=leases verb=get,update",
)
POST_TIMEOUT = Variable(
    "POSTTIMEOUT",
    parsers.duration(100, 600_000),
    "30000",
    "Milliseconds for one attempt, 100 to 600000.",
    "30000",
)
POST_CONCURRENCY = Variable(
    "POSTCONCURRENCY",
    parsers.integer(1, 64),
    "4",  # keeps up with a webhook that answers in 10 ms, and mostly in 50 ms: docs/performance.md
    "Posts in flight at once, 1 to 64.",
    "4",
)
POST_BATCH_EVENTS = Variable(
    "POSTBATCHMAXEVENTS",
    parsers.integer(1, 10_000),
    # The limit of kube-apiserver's own webhook batches. 100 cost a quarter more CPU, 1000 hardly
    # less than 400 (docs/performance.md), and of a larger batch more has to be sent again.
    "400",
    "Events in one post, 1 to 10000; 1 posts each event by itself.",
    "400",
)
POST_BATCH_BYTES = Variable(
    "POSTBATCHMAXBYTES",
    parsers.size(1 << 10, MAX_BODY_BYTES),
    "8 MiB",
    "Bytes in one post, 1 KiB to 12 MiB (Falco refuses more) and at most INFLIGHTMAXBYTES.",
    "8 MiB",
)
KEEPALIVE = Variable(
    "KEEPALIVE",
    parsers.boolean,
    "true",
    "Whether connections to the endpoint are used again: true or false.",
    "true",
)
INDOUBT_BODIES = Variable(
    "INDOUBTBODIES",
    parsers.integer(0, 10_000),
    "51",  # the queue of Falco's k8saudit plugin holds 50, and its worker has one
    "Posts that the endpoint may hold after it has answered them, 0 to 10000: they are posted "
    "again if it breaks. 0 believes every answer at once.",
    "51",
)
INDOUBT_TIME = Variable(
    "INDOUBTTIME",
    parsers.duration(0, 600_000),
    "3000",
    "Milliseconds without a post, 0 to 600000, after which the endpoint has processed what it "
    "took, besides a second for each 1500 events. 0 believes every answer at once.",
    "3000",
)
RATE = Variable(
    "RATELIMITEREVENTSPERSECONDS",
    parsers.rate(1_000_000),
    None,
    "Events per second that are posted at most, up to 1000000; 0 is unlimited.",
    "500",
    absent="unlimited",
)
BURST = Variable(
    "RATELIMITERBURST",
    parsers.integer(1, 1_000_000),
    "50",
    "Events that may go at once before the rate applies, 1 to 1000000.",
    "50",
)
INFLIGHT_BYTES = Variable(
    "INFLIGHTMAXBYTES",
    parsers.size(1 << 20, 16 << 30),
    "64 MiB",
    "Bytes of events in memory at most, 1 MiB to 16 GiB.",
    "64 MiB",
)
CHECKPOINT_INTERVAL = Variable(
    "CHECKPOINTINTERVAL",
    parsers.duration(100, 600_000),
    "5000",
    "Milliseconds between checkpoints, 100 to 600000.",
    "5000",
)
SHUTDOWN_GRACE = Variable(
    "SHUTDOWNGRACE",
    parsers.duration(0, 600_000),
    "20000",
    "Milliseconds to deliver what is in flight after a signal, 0 to 600000.",
    "20000",
)
STATS_ADDRESS = Variable(
    "STATSADDRESS",
    parsers.listen_address,
    "0.0.0.0:9000",
    "Where metrics and health are served; port 0 takes any free port.",
    "127.0.0.1:9000",
)
LOG_LEVEL = Variable(
    "LOGLEVEL",
    parsers.log_level,
    "info",
    "The least severe level that is logged: panic, fatal, error, warn, info, debug or trace.",
    "info",
)
VERBOSE_LEVEL = Variable(
    "VERBOSELEVEL",
    parsers.verbose_level,
    None,
    "Sysdig's form of LOGLEVEL: 1 (error), 2 (warn), 3 (info) or 4 (debug).",
    "3",
)
LOG_FORMAT = Variable(
    "LOGFORMAT",
    parsers.log_format,
    None,
    "How log lines look: json or console.",
    "json",
    absent="json; console on a terminal",
)

VARIABLES: tuple[Variable[Any], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Variable)
)
"""All variables of the table, in its order."""
