"""When the sender pool posts what, in virtual time."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from structlog.testing import LogCapture
from trio.testing import MockClock

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.config.settings import Exhausted, SinkConfig
from aks_audit.delivery import sender
from aks_audit.delivery.circuit_breaker import CircuitBreaker
from aks_audit.delivery.retry import HOLD_PROBE_MAX_S
from aks_audit.delivery.sender import Sender, run_pool
from aks_audit.delivery.webhook import Webhook
from aks_audit.errors import Rejected, Retryable
from aks_audit.model import Item, Position
from aks_audit.ops.health import Heartbeat
from aks_audit.ops.metrics import Metrics
from tests.helpers import (
    ScriptedWebhook,
    Setup,
    capture,
    make_destination,
    make_items,
    outcomes,
    sink_config,
    url_config,
)

Events = Sequence[dict[str, Any]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    return capture(
        monkeypatch,
        "aks_audit.delivery.sender.log",
        "aks_audit.delivery.retry.log",
        "aks_audit.delivery.circuit_breaker.log",
        "aks_audit.deadletters.writer.log",
    )


async def deliver(setup: Setup, webhook: Webhook, items: Sequence[Item]) -> None:
    await Sender(setup.destination, webhook, Heartbeat(trio.current_time)).deliver(
        setup.destination.doubt.fresh(items)
    )


async def healthy(_: Events) -> None:
    pass


def failing(times: int | None = None, **known: Any) -> Callable[[Events], Awaitable[None]]:
    """Fail so often, then be well; None is for ever."""
    failures = 0

    async def answer(_: Events) -> None:
        nonlocal failures
        failures += 1
        if times is None or failures <= times:
            raise Retryable("HTTP 503", **known)

    return answer


async def scripted(
    answer: Callable[[Events], Awaitable[None]], config: SinkConfig, count: int = 1
) -> tuple[ScriptedWebhook, Setup, PartitionLedger]:
    """Deliver one batch, in virtual time."""
    webhook, setup = ScriptedWebhook(answer), make_destination(config)
    items, ledger = make_items(count)

    setup.channel.put(items)
    batch = await setup.channel.take()
    await deliver(setup, webhook, batch)
    return webhook, setup, ledger


async def test_what_is_taken_at_once_is_posted_once(autojump_clock: MockClock) -> None:
    webhook, setup, ledger = await scripted(healthy, sink_config(), count=3)
    assert webhook.posts[0][1] == ["id-0", "id-1", "id-2"]
    assert len(webhook.posts) == 1
    assert outcomes(setup.metrics) == (3, 0, 0)
    assert ledger.done == Position(2, "2")
    assert setup.in_flight.events == 0


async def test_retries_come_after_ever_longer_pauses(autojump_clock: MockClock) -> None:
    webhook, setup, ledger = await scripted(failing(4), sink_config(retry_delay_s=1.0), count=2)
    assert webhook.times == [0, 1, 3, 6, 10]
    assert {tuple(ids) for _, ids in webhook.posts} == {("id-0", "id-1")}
    assert outcomes(setup.metrics) == (2, 0, 8)
    assert ledger.done == Position(1, "1")


async def test_drop_gives_up_after_the_last_retry(
    lines: LogCapture, autojump_clock: MockClock
) -> None:
    config = sink_config(retry_delay_s=1.0, max_retries=3, exhausted=Exhausted.DROP)
    webhook, setup, ledger = await scripted(failing(), config, count=2)
    assert webhook.times == [0, 1, 3, 6]
    assert outcomes(setup.metrics) == (0, 2, 6)
    assert ledger.done == Position(1, "1")
    assert setup.in_flight.events == 0
    assert setup.breaker.ready() is None
    dropped = [line for line in lines.entries if line["event"].startswith("dropped")]
    assert [(line["sequence_number"], line["audit_id"]) for line in dropped] == [
        (0, "id-0"),
        (1, "id-1"),
    ]


async def test_deadletter_keeps_the_event_after_the_last_retry(
    lines: LogCapture, autojump_clock: MockClock
) -> None:
    config = sink_config(retry_delay_s=1.0, max_retries=2, exhausted=Exhausted.DEADLETTER)
    webhook, setup, ledger = await scripted(failing(), config, count=2)
    assert webhook.times == [0, 1, 3]
    assert outcomes(setup.metrics) == (0, 2, 4)
    assert ledger.done == Position(1, "1")
    kept = [line for line in lines.entries if line["event"] == "dead letter"]
    assert [(line["audit_id"], line["reason"]) for line in kept] == [
        ("id-0", "exhausted"),
        ("id-1", "exhausted"),
    ]
    assert [letter.attempts for letter in setup.letters.letters] == [3, 3]


async def test_no_retries_means_one_attempt(autojump_clock: MockClock) -> None:
    config = sink_config(max_retries=0, exhausted=Exhausted.DROP)
    webhook, setup, _ = await scripted(failing(), config)
    assert webhook.times == [0]
    assert outcomes(setup.metrics) == (0, 1, 0)


async def test_a_pause_never_passes_its_ceiling(autojump_clock: MockClock) -> None:
    config = sink_config(retry_delay_s=20.0, max_retries=4, exhausted=Exhausted.DROP)
    webhook, _, _ = await scripted(failing(), config)
    assert webhook.times == [0, 20, 50, 80, 110]


async def test_the_endpoint_may_ask_for_a_longer_pause(autojump_clock: MockClock) -> None:
    webhook, _, _ = await scripted(failing(2, retry_after_s=42.0), sink_config(retry_delay_s=1.0))
    assert webhook.times == [0, 42, 84]


async def test_the_endpoint_cannot_ask_for_a_shorter_pause(autojump_clock: MockClock) -> None:
    webhook, _, _ = await scripted(failing(2, retry_after_s=0.5), sink_config(retry_delay_s=1.0))
    assert webhook.times == [0, 1, 3]


async def test_the_answer_says_for_how_long_to_pause(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def busy_at_first(_: httpx.Request) -> httpx.Response:
        times.append(trio.current_time())
        status, headers = (429, {"Retry-After": "42"}) if len(times) == 1 else (200, {})
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b""))

    config = url_config("http://falco/k8s-audit", retry_delay_s=1.0)
    setup = make_destination(config)
    items, ledger = make_items(1)
    setup.channel.put(items)
    transport = httpx.MockTransport(busy_at_first)
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:
        await deliver(setup, Webhook(client, config, setup.metrics.posts), items)
    assert times == [0, 42]
    assert ledger.done == Position(0, "0")


async def test_hold_goes_on_probing_with_a_single_event(
    lines: LogCapture, autojump_clock: MockClock
) -> None:
    config = sink_config(retry_delay_s=1.0, max_retries=2)
    webhook, setup, ledger = await scripted(failing(6), config, count=3)
    # Held from the third failure on: n * delay up to the ceiling of the probes.
    assert webhook.times == [0, 1, 3, 6, 10, 14, 18, 18]
    assert [len(ids) for _, ids in webhook.posts] == [3, 3, 3, 1, 1, 1, 1, 2]
    assert webhook.posts[-2][1] + webhook.posts[-1][1] == ["id-0", "id-1", "id-2"]
    assert outcomes(setup.metrics)[:2] == (3, 0)
    assert ledger.done == Position(2, "2")
    assert setup.breaker.ready() is None
    events = [line["event"] for line in lines.entries]
    assert events.count("holding events until the endpoint is back") == 1
    assert events.count("the endpoint is back") == 1


async def test_hold_never_gives_up(autojump_clock: MockClock) -> None:
    config = sink_config(retry_delay_s=1.0, max_retries=0)
    webhook, setup, _ = await scripted(failing(1000), config)
    assert len(webhook.posts) == 1001
    assert outcomes(setup.metrics)[:2] == (1, 0)
    gaps = [after - before for before, after in zip(webhook.times, webhook.times[1:], strict=False)]
    assert max(gaps) == HOLD_PROBE_MAX_S


def test_readiness_tells_why_events_are_held() -> None:
    metrics = Metrics().posts
    breaker = CircuitBreaker(metrics)
    assert breaker.ready() is None
    breaker.open("HTTP 503")
    breaker.open("HTTP 504")
    assert "HTTP 504" in (breaker.ready() or "")
    assert metrics.holding._value.get() == 1
    breaker.close()
    assert breaker.ready() is None
    assert metrics.holding._value.get() == 0


async def test_a_sender_with_retries_left_probes_as_often_as_any_other(
    autojump_clock: MockClock,
) -> None:
    """It holds the turn while it pauses, so its pause is everybody's."""
    config = sink_config(retry_delay_s=10.0, max_retries=5)
    setup = make_destination(config)
    setup.breaker.open("away")
    items, _ = make_items(1)
    webhook = ScriptedWebhook(failing(4))

    setup.channel.put(items)
    await deliver(setup, webhook, items)
    assert webhook.times == [0, 4, 8, 12, 16]


@pytest.mark.parametrize("poisons", [{0}, {7}, {15}, {3, 4}, {0, 15}, set(range(16))])
async def test_poison_is_isolated_by_splitting(
    poisons: set[int], lines: LogCapture, autojump_clock: MockClock
) -> None:
    bad = {f"id-{number}" for number in poisons}

    async def answer(events: Events) -> None:
        if bad & {event["auditID"] for event in events}:
            raise Rejected("HTTP 400 Bad Request", status=400)

    webhook, setup, ledger = await scripted(answer, sink_config(), count=16)
    accepted = Counter(
        audit_id for _, ids in webhook.posts if not bad & set(ids) for audit_id in ids
    )
    assert accepted == {f"id-{number}": 1 for number in range(16) if number not in poisons}
    assert outcomes(setup.metrics) == (16 - len(poisons), len(poisons), 0)
    assert ledger.done == Position(15, "15")
    refused = [line for line in lines.entries if line["event"] == "dead letter"]
    assert {(line["partition"], line["sequence_number"], line["audit_id"]) for line in refused} == {
        ("0", number, f"id-{number}") for number in poisons
    }
    assert all(line["log_level"] == "error" and line["status"] == 400 for line in refused)
    # Each with a look at the endpoint, and a second try.
    assert len(webhook.posts) <= (2 * 4 + 2) * len(poisons) + 1
    assert webhook.times == [0] * len(webhook.posts)


async def test_a_fault_of_the_endpoint_amid_splitting_costs_nobody(
    autojump_clock: MockClock,
) -> None:
    posts = 0

    async def answer(events: Events) -> None:
        nonlocal posts
        posts += 1
        if posts in {2, 4, 5, 7}:
            raise Retryable("HTTP 503")
        if "id-2" in {event["auditID"] for event in events}:
            raise Rejected("HTTP 422", status=422)

    webhook, setup, _ = await scripted(answer, sink_config(), count=4)
    assert outcomes(setup.metrics)[:2] == (3, 1)
    assert webhook.times[-1] > 0


async def test_poison_met_by_a_probe_ends_the_hold(autojump_clock: MockClock) -> None:
    async def answer(events: Events) -> None:
        if len(webhook.posts) <= 2:
            raise Retryable("HTTP 503")
        if "id-0" in {event["auditID"] for event in events}:
            raise Rejected("HTTP 400", status=400)

    setup = make_destination(sink_config(max_retries=0))
    items, ledger = make_items(4)
    webhook = ScriptedWebhook(answer)

    setup.channel.put(items)
    await deliver(setup, webhook, items)
    assert outcomes(setup.metrics)[:2] == (3, 1)
    assert setup.breaker.ready() is None
    assert ledger.done == Position(3, "3")


async def pool(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Events], Awaitable[None]],
    config: SinkConfig,
    counts: Sequence[int],
) -> tuple[ScriptedWebhook, Setup, PartitionLedger]:
    """Run the whole pool over hub events of so many audit events each."""
    webhook, setup = ScriptedWebhook(answer), make_destination(config)

    @asynccontextmanager
    async def open_webhook(*_: object) -> Any:
        yield webhook

    monkeypatch.setattr(sender, "open_webhook", open_webhook)
    items, ledger = make_items(sum(counts))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_pool, setup.destination)
        await trio.testing.wait_all_tasks_blocked()
        rest = items
        for count in counts:
            setup.channel.put(rest[:count])
            rest = rest[count:]
            await trio.testing.wait_all_tasks_blocked()
        await setup.in_flight.drained()
        nursery.cancel_scope.cancel()
    return webhook, setup, ledger


async def test_while_held_one_sender_at_a_time_probes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    away_until = 300.0
    at_once: list[tuple[bool, int, int]] = []

    async def answer(events: Events) -> None:
        held = setup_box[0].breaker.is_open
        at_once.append((held, webhook_box[0].under_way, len(events)))
        await trio.sleep(2)
        if trio.current_time() - webhook_box[0].posts[0][0] < away_until:
            raise Retryable("timeout")

    webhook_box: list[ScriptedWebhook] = []
    setup_box: list[Setup] = []
    monkeypatch.setattr(ScriptedWebhook, "__init__", noting(ScriptedWebhook.__init__, webhook_box))
    monkeypatch.setattr(Setup, "__init__", noting(Setup.__init__, setup_box))
    config = sink_config(concurrency=6, retry_delay_s=1.0, max_retries=1)
    webhook, setup, ledger = await pool(monkeypatch, answer, config, [5] * 6)
    assert any(not held and under_way > 1 for held, under_way, _ in at_once)
    probes = [(under_way, events) for held, under_way, events in at_once if held]
    settled = probes[6:]  # those that were under way when the hold began have ended
    assert len(settled) > 20
    assert set(settled) == {(1, 1)}
    assert ledger.done == Position(29, "29")
    assert outcomes(setup.metrics)[:2] == (30, 0)
    assert setup.breaker.ready() is None
    back = [at for at, _ in webhook.posts if at - webhook.posts[0][0] >= away_until]
    assert back[0] - webhook.posts[0][0] - away_until <= 5


def noting(original: Callable[..., None], into: list[Any]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **known: Any) -> None:
        original(self, *args, **known)
        into.append(self)

    return init


async def test_the_return_of_the_endpoint_wakes_all_senders(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    width: list[int] = []
    webhook_box: list[ScriptedWebhook] = []
    monkeypatch.setattr(ScriptedWebhook, "__init__", noting(ScriptedWebhook.__init__, webhook_box))

    async def answer(_: Events) -> None:
        if len(webhook_box[0].posts) < 20:
            raise Retryable("refused")
        width.append(webhook_box[0].under_way)
        await trio.sleep(1)

    config = sink_config(concurrency=4, max_retries=0, batch_max_events=3)
    webhook, setup, ledger = await pool(monkeypatch, answer, config, [3] * 4)
    assert max(width) >= 3
    assert ledger.done == Position(11, "11")
    assert outcomes(setup.metrics)[:2] == (12, 0)
    delivered = Counter(audit_id for _, ids in webhook.posts[19:] for audit_id in ids)
    assert delivered == {f"id-{number}": 1 for number in range(12)}


async def test_a_pool_batches_what_is_waiting(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async def slow(_: Events) -> None:
        await trio.sleep(1)

    config = sink_config(concurrency=1, batch_max_events=10)
    webhook, _, _ = await pool(monkeypatch, slow, config, [1] * 25)
    assert [len(ids) for _, ids in webhook.posts] == [1, 10, 10, 4]
    assert webhook.times == [0, 1, 2, 3]


async def test_the_rate_limit_counts_events(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    config = sink_config(concurrency=3, rate_events_per_s=10.0, burst=5)
    webhook, _, ledger = await pool(monkeypatch, healthy, config, [40])
    assert all(len(ids) <= 5 for _, ids in webhook.posts)
    assert webhook.times == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert ledger.done == Position(39, "39")


async def test_settling_measures_the_delay_since_event_hubs(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("aks_audit.delivery.inflight.time.time", lambda: 12.0)
    _, setup, _ = await scripted(healthy, sink_config())
    assert setup.metrics.outcomes.delay_seconds._sum.get() == 12.0
