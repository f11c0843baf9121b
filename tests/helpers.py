"""What the tests of the stages share: audit events, and a destination to put them into."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio
from hypothesis import HealthCheck, settings
from structlog.testing import LogCapture

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.config.load import load
from aks_audit.config.routes import DEFAULT
from aks_audit.config.settings import EventsConfig, SinkConfig
from aks_audit.deadletters.letter import DeadLetter
from aks_audit.deadletters.store import DirectoryStore
from aks_audit.deadletters.writer import Writer
from aks_audit.delivery.channel import Channel
from aks_audit.delivery.circuit_breaker import CircuitBreaker
from aks_audit.delivery.destination import Destination, open_destination
from aks_audit.delivery.inflight import InFlight
from aks_audit.delivery.intake import Intake
from aks_audit.delivery.webhook import Body, Webhook
from aks_audit.model import START_OF_STREAM, AuditEvent, HubEvent, Item, Outcome, Position
from aks_audit.ops.metrics import Metrics

ENVIRONMENT = {
    "EHUBNAMESPACECONNECTIONSTRING": "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=k",
    "CHECKPOINTFILE": "/nowhere/checkpoints.db",
    "WEBSINKURL": "http://127.0.0.1:1/k8s-audit",
    "INDOUBTBODIES": "0",  # what is in doubt has tests of its own
}


def examples(count: int) -> settings:
    """So many examples, however slow the machine is just now."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def audit_event(audit_id: str = "a", stage: str = "ResponseComplete", **fields: Any) -> bytes:
    known = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": stage,
        "stageTimestamp": "2026-03-01T10:00:00.123456Z",
    }
    return json.dumps(known | fields, separators=(",", ":")).encode()


def nested(levels: int, innermost: bytes = b"1") -> bytes:
    """An audit event with so many objects inside one another, itself included."""
    inner = b'{"d":' * (levels - 1) + innermost + b"}" * (levels - 1)
    return audit_event()[:-1] + b',"d":' + inner + b"}"


def record(log: object, category: str = "kube-audit") -> dict[str, object]:
    return {
        "time": "2026-03-01T10:00:00Z",
        "category": category,
        "properties": {"log": log, "stream": "stdout", "pod": "kube-apiserver-x"},
    }


def envelope(*records: object) -> bytes:
    return json.dumps({"records": records}).encode()


def make_item(raw: bytes, ledger: PartitionLedger, audit_id: str = "") -> Item:
    """One audit event, alone in the next hub event of a partition."""
    number = ledger.seen + 1
    event = HubEvent(ledger.partition, Position(number, str(number)), 0.0, raw)
    ticket = ledger.open(event, 1)
    assert ticket is not None
    return Item(AuditEvent(raw, audit_id, "ResponseComplete"), ticket, 0.0)


def make_items(
    raws: int | Iterable[bytes], ledger: PartitionLedger | None = None
) -> tuple[list[Item], PartitionLedger]:
    ledger = ledger or PartitionLedger("0", START_OF_STREAM)
    if isinstance(raws, int):
        raws = [audit_event(f"id-{number}") for number in range(raws)]
    return [make_item(raw, ledger, json.loads(raw)["auditID"]) for raw in raws], ledger


def posted(items: Iterable[Item]) -> bytes:
    """The body of a POST of items."""
    return b"".join(Body([item.event.raw for item in items]).pieces())


def sized_item(size: int) -> Item:
    """An item of that many bytes, which need not be JSON."""
    return make_item(b"x" * size, PartitionLedger("0", START_OF_STREAM))


def sink_config(**changes: Any) -> SinkConfig:
    return replace(load(ENVIRONMENT).sink, **changes)


def url_config(url: str, **changes: Any) -> SinkConfig:
    return replace(load(ENVIRONMENT | {"WEBSINKURL": url}).sink, **changes)


class KeptLetters(Writer):
    """Keeps dead letters in memory, and at once: their store is tested elsewhere."""

    def __init__(self, in_flight: InFlight, metrics: Metrics) -> None:
        super().__init__(
            DirectoryStore(Path("/nowhere")),
            partial(in_flight.settle, outcome=Outcome.DEAD_LETTERED),
            metrics.dead_letters,
        )
        self.letters: list[DeadLetter] = []

    def put(
        self, item: Item, reason: str, detail: str, *, status: int | None = None, attempts: int = 0
    ) -> None:
        super().put(item, reason, detail, status=status, attempts=attempts)
        segment = self._segment()
        self.letters += [letter for _, letter in segment]
        self._confirmed(segment)


@dataclass(frozen=True)
class Setup:
    """A destination, its dead letters and all the metrics."""

    destination: Destination
    letters: KeptLetters
    metrics: Metrics

    @property
    def in_flight(self) -> InFlight:
        return self.destination.in_flight

    @property
    def channel(self) -> Channel:
        return self.destination.channel

    @property
    def breaker(self) -> CircuitBreaker:
        return self.destination.breaker


def make_destination(
    config: SinkConfig,
    *,
    name: str = DEFAULT,
    max_bytes: int = 1024**3,
    max_events: int = 65_536,
    metrics: Metrics | None = None,
) -> Setup:
    metrics = metrics or Metrics()
    in_flight = InFlight(max_bytes, metrics.outcomes, max_events)
    letters = KeptLetters(in_flight, metrics)
    unused = DirectoryStore(Path("/nowhere"))
    destination = open_destination(name, config, in_flight, unused, metrics)
    return Setup(replace(destination, letters=letters), letters, metrics)


def outcomes(metrics: Metrics) -> tuple[int, int, int]:
    """The events that were delivered, given up, and posted again."""
    return metrics.outcomes.success.value, metrics.outcomes.errors.value, metrics.posts.retry.value


def events_config(**changes: Any) -> EventsConfig:
    return replace(load(ENVIRONMENT).events, **changes)


def make_intake(
    config: EventsConfig | None = None,
    *,
    max_bytes: int = 10**6,
    max_events: int = 65_536,
    max_event_bytes: int = 5000,
    metrics: Metrics | None = None,
) -> tuple[Intake, dict[str, Setup]]:
    """An intake with a destination for each route; their dead letters are kept in memory."""
    config = config or events_config()
    metrics = metrics or Metrics()
    setups = {
        name: make_destination(
            sink_config(), name=name, max_bytes=max_bytes, max_events=max_events, metrics=metrics
        )
        for name in (DEFAULT, *(route.name for route in config.routes))
    }
    intake = Intake(
        config,
        {name: setup.destination for name, setup in setups.items()},
        metrics.intake,
        max_event_bytes=max_event_bytes,
        log_events=False,
    )
    return intake, setups


def waiting(channel: Channel) -> list[Item]:
    """What waits in a channel now."""
    return list(channel._items)


def take_all(channel: Channel) -> list[Item]:
    """All that waits in a channel now, taken out of it."""
    items = waiting(channel)
    channel._items.clear()
    channel._bytes = 0
    return items


class ScriptedWebhook(Webhook):
    """Notes every POST with its time, and does what a function says."""

    def __init__(self, answer: Callable[[Sequence[dict[str, Any]]], Awaitable[None]]) -> None:
        self._answer = answer
        self.posts: list[tuple[float, list[str]]] = []
        self.under_way = 0

    async def post(self, raws: Sequence[bytes]) -> None:
        events = list(map(json.loads, raws))
        self.posts.append((trio.current_time(), [event["auditID"] for event in events]))
        self.under_way += 1
        try:
            await self._answer(events)
        finally:
            self.under_way -= 1

    @property
    def times(self) -> list[float]:
        start = self.posts[0][0]
        return [round(at - start, 6) for at, _ in self.posts]


def capture(monkeypatch: Any, *loggers: str) -> LogCapture:
    """Take what some modules log, whatever logging is set up to."""
    lines = LogCapture()
    for logger in loggers:
        monkeypatch.setattr(logger, structlog.wrap_logger(None, processors=[lines]))
    return lines
