"""How a break of the endpoint is noticed, over real sockets."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
from prometheus_client import CollectorRegistry

from aks_audit.delivery.doubt import Body, Doubt, Mark
from aks_audit.delivery.sender import run_pool
from aks_audit.delivery.webhook import Webhook, open_webhook
from aks_audit.errors import Broken
from aks_audit.model import START_OF_STREAM, Position
from aks_audit.ops.metrics import PostMetrics
from testkit.falco import Falco, Settings, serve_falco
from tests.helpers import audit_event, make_destination, make_items, url_config

NEVER = Settings(queue_bodies=50, events_per_s=1e-6)
"""Everything stays in the queue."""

Case = Callable[[Falco, Webhook], Awaitable[None]]


async def over_one_connection(case: Case, settings: Settings, *, keepalive: bool = True) -> None:
    async with trio.open_nursery() as nursery:
        falco = await nursery.start(partial(serve_falco, "127.0.0.1", 0, settings))
        config = url_config(falco.url, keepalive=keepalive)
        async with open_webhook(config, PostMetrics(CollectorRegistry())) as webhook:
            await case(falco, webhook)
        nursery.cancel_scope.cancel()


async def test_a_connection_that_the_endpoint_closed_is_lost_once() -> None:
    async def case(falco: Falco, webhook: Webhook) -> None:
        assert not webhook.lost()
        await webhook.post([audit_event()])
        assert not webhook.lost()
        await falco.refuse()
        assert webhook.lost()
        assert not webhook.lost()

    await over_one_connection(case, Settings())


async def test_a_new_connection_in_place_of_a_kept_one_is_not_opened_silently() -> None:
    """Where nobody looked in time: httpcore would open one, and say nothing."""

    async def case(falco: Falco, webhook: Webhook) -> None:
        await webhook.post([audit_event()])
        await falco.refuse()
        falco.accept()
        with pytest.raises(Broken, match="closed a connection"):
            await webhook.post([audit_event("b")])
        assert falco.received.count == 1
        await webhook.post([audit_event("b")])
        assert falco.received.count == 2

    await over_one_connection(case, Settings())


@pytest.mark.parametrize("kept_before", [True, False])
async def test_a_close_that_is_announced_tells_of_a_break_if_the_connection_was_kept(
    *, kept_before: bool
) -> None:
    async def case(falco: Falco, webhook: Webhook) -> None:
        if kept_before:
            await webhook.post([audit_event()])
        falco.faults.answer(200, headers={"Connection": "close"})
        await webhook.post([audit_event()])
        assert webhook.lost() == kept_before
        assert not webhook.lost()

    await over_one_connection(case, Settings())


async def test_connections_that_are_never_kept_are_never_lost() -> None:
    async def case(falco: Falco, webhook: Webhook) -> None:
        for _ in range(3):
            await webhook.post([audit_event()])
            assert not webhook.lost()
        assert falco.received.connections == 3

    await over_one_connection(case, Settings(), keepalive=False)


def all_in_doubt(doubt: Doubt, events: int) -> trio.Event:
    """An event that is set when so many audit events are in doubt."""
    reached, accept = trio.Event(), doubt.accept

    def told(body: Body, mark: Mark) -> None:
        accept(body, mark)
        if doubt.events == events:
            reached.set()

    doubt.accept = told  # type: ignore[method-assign]
    return reached


@pytest.mark.parametrize("kill", [True, False])
async def test_what_a_restarted_falco_had_queued_comes_again_while_all_is_idle(
    *, kill: bool
) -> None:
    items, ledger = make_items(3)
    async with trio.open_nursery() as nursery:
        falco = await nursery.start(partial(serve_falco, "127.0.0.1", 0, NEVER))
        config = url_config(falco.url, indoubt_bodies=51, indoubt_s=5.0, retry_delay_s=0.005)
        setup = make_destination(config)
        in_doubt = all_in_doubt(setup.destination.doubt, 3)
        nursery.start_soon(run_pool, setup.destination)
        setup.channel.put(items)
        await in_doubt.wait()
        await (falco.refuse() if kill else falco.stop())
        falco.accept()
        assert ledger.done == START_OF_STREAM
        await setup.in_flight.drained()
        assert ledger.done == Position(2, "2")
        assert falco.received.requests == 2
        assert setup.metrics.doubt.posted_again._value.get() == 3
        nursery.cancel_scope.cancel()
