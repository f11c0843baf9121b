from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from aks_audit.config.settings import Exhausted
from aks_audit.delivery.retry import HOLD_PROBE_MAX_S, RETRY_DELAY_MAX_S, retry_pause_s
from aks_audit.delivery.sender import Sender
from aks_audit.delivery.webhook import RETRY_AFTER_MAX_S, retry_after_s
from aks_audit.errors import Rejected, Retryable
from aks_audit.ops.health import Heartbeat
from tests.helpers import (
    ScriptedWebhook,
    Setup,
    examples,
    make_destination,
    make_items,
    sink_config,
)

delays = st.floats(0, 60)


@given(retries=st.integers(1, 1000), delay_s=delays, asked_s=delays, held=st.booleans())
def test_a_pause_grows_linearly_up_to_its_ceiling(
    *, retries: int, delay_s: float, asked_s: float, held: bool
) -> None:
    config = sink_config(retry_delay_s=delay_s)
    fault = Retryable("HTTP 503", retry_after_s=asked_s)
    ceiling = HOLD_PROBE_MAX_S if held else RETRY_DELAY_MAX_S
    pause_s = retry_pause_s(config, retries, fault, held=held)
    assert pause_s == max(asked_s, min(retries * delay_s, ceiling))
    assert pause_s <= retry_pause_s(config, retries + 1, fault, held=held)


@given(st.text() | st.integers().map(str) | st.floats().map(str))
def test_any_retry_after_is_a_bounded_number_of_seconds(header: str) -> None:
    assert 0 <= retry_after_s(header) <= RETRY_AFTER_MAX_S


WORDS = """Mon, Fri, 01 31 99999999999999999999 Jan Feb Dec 0 1 1970 2030 9999 10000 00:00:00
    99:99:99 24:00 GMT -0000 +2359 +99999999999999999999 EST -"""
words = st.sampled_from(WORDS.split())


@examples(300)
@given(st.lists(words, max_size=7).map(" ".join))
def test_any_date_is_a_bounded_number_of_seconds(header: str) -> None:
    assert 0 <= retry_after_s(header) <= RETRY_AFTER_MAX_S


async def deliver(setup: Setup, webhook: ScriptedWebhook, count: int) -> list[float]:
    """Deliver one batch; returns the times of the posts."""
    items, ledger = make_items(count)
    setup.channel.put(items)
    batch = await setup.channel.take()
    destination = setup.destination
    body = destination.doubt.fresh(batch)
    await Sender(destination, webhook, Heartbeat(trio.current_time)).deliver(body)
    assert ledger.done == items[-1].ticket.position
    assert setup.in_flight.events == 0
    return webhook.times


@examples(100)
@given(
    retries=st.integers(0, 8),
    delay_s=st.sampled_from([0.0, 0.5, 1.0, 7.0, 40.0]),
    failures=st.integers(0, 12),
    count=st.integers(1, 4),
    exhausted=st.sampled_from([Exhausted.DROP, Exhausted.DEADLETTER]),
)
async def test_the_attempts_are_as_many_and_as_far_apart_as_configured(
    retries: int,
    delay_s: float,
    failures: int,
    count: int,
    exhausted: Exhausted,
    autojump_clock: MockClock,
) -> None:
    async def answer(_: Sequence[dict[str, Any]]) -> None:
        if len(webhook.posts) <= failures:
            raise Retryable("HTTP 503")

    webhook = ScriptedWebhook(answer)
    setup = make_destination(
        sink_config(retry_delay_s=delay_s, max_retries=retries, exhausted=exhausted)
    )
    times = await deliver(setup, webhook, count)
    attempts = min(failures, retries) + 1
    pauses = [min(n * delay_s, RETRY_DELAY_MAX_S) for n in range(1, attempts)]
    assert times == [round(at, 6) for at in accumulate(pauses, initial=0.0)]
    given_up = count if failures > retries else 0
    metrics = setup.metrics
    assert (metrics.outcomes.success.value, metrics.outcomes.errors.value) == (
        count - given_up,
        given_up,
    )
    assert metrics.posts.retry.value == count * (attempts - 1)
    assert len(setup.letters.letters) == (given_up if exhausted is Exhausted.DEADLETTER else 0)


@examples(100)
@given(retries=st.integers(0, 6), delay_s=st.floats(0.01, 20), failures=st.integers(0, 30))
async def test_hold_delivers_whenever_the_endpoint_comes_back(
    retries: int, delay_s: float, failures: int, autojump_clock: MockClock
) -> None:
    async def answer(_: Sequence[dict[str, Any]]) -> None:
        if len(webhook.posts) <= failures:
            raise Retryable("HTTP 503")

    webhook = ScriptedWebhook(answer)
    setup = make_destination(sink_config(retry_delay_s=delay_s, max_retries=retries))
    times = await deliver(setup, webhook, 3)
    assert setup.metrics.outcomes.success.value == 3
    assert setup.letters.letters == []
    assert setup.breaker.ready() is None
    probes = times[retries + 1 : failures + 1]
    gaps = [after - before for before, after in pairwise(probes)]
    assert all(gap <= HOLD_PROBE_MAX_S + 1e-6 for gap in gaps)
    assert all(len(ids) == 1 for _, ids in webhook.posts[retries + 1 : failures + 1])
    taken = Counter(audit_id for _, ids in webhook.posts[failures:] for audit_id in ids)
    assert taken == {"id-0": 1, "id-1": 1, "id-2": 1}


@examples(100)
@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39), max_size=6),
    faults=st.sets(st.integers(1, 60), max_size=10),
)
async def test_poison_and_outages_together_lose_nothing_and_dead_letter_only_poison(
    count: int, poison: set[int], faults: set[int], autojump_clock: MockClock
) -> None:
    bad = {f"id-{number}" for number in poison}
    taken: Counter[str] = Counter()

    async def answer(events: Sequence[dict[str, Any]]) -> None:
        if len(webhook.posts) in faults:
            raise Retryable("HTTP 503")
        ids = [event["auditID"] for event in events]
        if bad & set(ids):
            raise Rejected("HTTP 400", status=400)
        taken.update(ids)

    webhook = ScriptedWebhook(answer)
    setup = make_destination(sink_config(retry_delay_s=1.0, max_retries=2))
    await deliver(setup, webhook, count)
    everything = {f"id-{number}" for number in range(count)}
    assert taken == dict.fromkeys(everything - bad, 1)
    assert Counter(letter.audit_id for letter in setup.letters.letters) == dict.fromkeys(
        everything & bad, 1
    )
