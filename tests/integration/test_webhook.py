"""The webhook's contract over real sockets, kept by the sender pool."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import LogCapture

from aks_audit.checkpoints.ledger import PartitionLedger
from aks_audit.config.settings import Exhausted
from aks_audit.delivery.sender import run_pool
from aks_audit.model import Item, Position
from testkit.falco import Falco, Settings, serve_falco
from tests.helpers import (
    Setup,
    audit_event,
    capture,
    make_destination,
    make_items,
    outcomes,
    url_config,
)

Events = Sequence[dict[str, Any]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    return capture(
        monkeypatch,
        "aks_audit.delivery.retry.log",
        "aks_audit.delivery.circuit_breaker.log",
        "aks_audit.deadletters.writer.log",
    )


Body = Callable[[Falco, Setup, list[Item]], Awaitable[None]]


async def contract(
    body: Body,
    raws: int | list[bytes] = 1,
    *,
    settings: Settings | None = None,
    url: Callable[[str], str] = str,
    **changes: Any,
) -> tuple[Falco, Setup, PartitionLedger]:
    """Run the pool against the stand-in for Falco's webhook."""
    items, ledger = make_items(raws)
    found: list[Any] = []

    async with trio.open_nursery() as nursery:
        serve = partial(serve_falco, "127.0.0.1", 0, settings or Settings(keep_bytes=True))
        falco = await nursery.start(serve)
        # Fast, so that the tests need not wait: the schedule is tested in virtual time.
        quick = {"retry_delay_s": 0.005, "concurrency": 1} | changes
        setup = make_destination(url_config(url(falco.url), **quick))
        found.extend([falco, setup])
        nursery.start_soon(run_pool, setup.destination)
        await body(falco, setup, items)
        await setup.in_flight.drained()
        nursery.cancel_scope.cancel()
    return found[0], found[1], ledger


async def against(
    server: Callable[[trio.SocketStream], Awaitable[object]], count: int, **changes: Any
) -> PartitionLedger:
    """Run the pool against a server of any kind."""
    items, ledger = make_items(count)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        setup = make_destination(url_config(f"http://127.0.0.1:{port}/", **changes))
        nursery.start_soon(run_pool, setup.destination)
        setup.channel.put(items)
        await setup.in_flight.drained()
        nursery.cancel_scope.cancel()
    return ledger


async def send(_falco: Falco, setup: Setup, items: list[Item]) -> None:
    setup.channel.put(items)


def sending(plan: Callable[[Falco], object]) -> Body:
    """Plan what goes wrong, then send."""

    async def body(falco: Falco, setup: Setup, items: list[Item]) -> None:
        plan(falco)
        setup.channel.put(items)

    return body


async def test_a_single_event_arrives_byte_for_byte() -> None:
    raw = audit_event(note="ü😀\x00\ud800").replace(b":", b" : ", 3)
    falco, setup, ledger = await contract(send, [raw])
    assert falco.received.bodies == [raw]
    assert falco.received.heads[0]["content-type"] == "application/json"
    assert falco.received.dropped == []
    assert ledger.done == Position(0, "0")
    assert outcomes(setup.metrics) == (1, 0, 0)


async def test_several_events_arrive_as_an_event_list() -> None:
    raws = [audit_event(f"id-{number}", note="ü" * number) for number in range(50)]
    falco, setup, _ = await contract(send, raws)
    assert falco.received.batches == {50: 1}
    assert list(falco.received.events.values()) == raws
    assert falco.received.dropped == []
    assert json.loads(falco.received.bodies[0])["kind"] == "EventList"
    assert outcomes(setup.metrics) == (50, 0, 0)


async def test_bodies_keep_to_the_configured_bounds() -> None:
    raws = [audit_event(f"id-{number}", pad="x" * number * 10) for number in range(60)]
    falco, _, _ = await contract(send, raws, batch_max_events=7, batch_max_bytes=3000)
    assert max(falco.received.batches) <= 7
    assert max(map(len, falco.received.bodies)) <= 3000
    assert list(falco.received.events.values()) == raws


@pytest.mark.parametrize(
    "status", [300, 301, 302, 307, 401, 403, 404, 405, 408, 429, 500, 502, 503, 504]
)
async def test_a_fault_of_the_endpoint_is_retried(status: int) -> None:
    plan = sending(lambda falco: falco.faults.answer(status, 3))
    falco, setup, ledger = await contract(plan, 3)
    assert falco.received.answers == {status: 3, 200: 1}
    assert set(falco.received.receipts.values()) == {1}
    assert outcomes(setup.metrics) == (3, 0, 9)
    assert ledger.done == Position(2, "2")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_event_is_tried_once_more_at_most(status: int, lines: LogCapture) -> None:
    plan = sending(lambda falco: falco.faults.reject('"id-0"', status))
    falco, setup, ledger = await contract(plan)
    assert falco.received.answers == {status: 2, 200: 1}  # 200 to an empty list in between
    assert falco.received.count == 0
    assert outcomes(setup.metrics) == (0, 1, 0)
    assert ledger.done == Position(0, "0")
    (line,) = [line for line in lines.entries if line["log_level"] == "error"]
    assert (line["partition"], line["sequence_number"], line["audit_id"], line["status"]) == (
        "0",
        0,
        "id-0",
        status,
    )


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_endpoint_that_refuses_for_a_moment_makes_no_dead_letter(status: int) -> None:
    """It refuses an event, and is well again when it is asked whether it refuses everything."""
    plan = sending(lambda falco: falco.faults.answer(status))
    falco, setup, ledger = await contract(plan)
    assert falco.received.answers == {status: 1, 200: 2}
    assert falco.received.count == 1
    assert outcomes(setup.metrics) == (1, 0, 0)
    assert ledger.done == Position(0, "0")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_poison_among_many_costs_only_itself(status: int) -> None:
    raws = [audit_event(f"id-{n}", note="poison" if n in {3, 17} else "") for n in range(40)]
    plan = sending(lambda falco: falco.faults.reject(b"poison", status))
    falco, setup, ledger = await contract(plan, raws)
    receipts = {audit_id: times for (audit_id, _), times in falco.received.receipts.items()}
    assert receipts == {f"id-{number}": 1 for number in range(40) if number not in {3, 17}}
    assert outcomes(setup.metrics) == (38, 2, 0)
    assert ledger.done == Position(39, "39")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_endpoint_that_refuses_everything_makes_no_dead_letter(
    status: int, lines: LogCapture
) -> None:
    async def body(falco: Falco, setup: Setup, items: list[Item]) -> None:
        held = watched(setup)
        falco.faults.answer(status, None)
        setup.channel.put(items)
        await held.wait()
        assert f"HTTP {status}" in (setup.breaker.ready() or "")
        falco.faults.clear()

    falco, setup, _ = await contract(body, 10, max_retries=0)
    assert set(falco.received.receipts.values()) == {1}
    assert outcomes(setup.metrics)[:2] == (10, 0)
    assert "dead letter" not in {line["event"] for line in lines.entries}


@pytest.mark.parametrize(
    "script", ["close", "cut", "garbage", "close*3", "garbage*2 cut 503 close"]
)
async def test_broken_exchanges_are_retried(script: str) -> None:
    falco, setup, ledger = await contract(sending(lambda falco: falco.faults.script(script)), 2)
    assert set(falco.received.receipts.values()) == {1}
    assert outcomes(setup.metrics)[:2] == (2, 0)
    assert ledger.done == Position(1, "1")


@pytest.mark.parametrize("script", ["silence", "delay:9", "trickle:9"])
async def test_a_late_answer_is_retried_and_may_make_duplicates(script: str) -> None:
    plan = sending(lambda falco: falco.faults.script(script))
    falco, setup, _ = await contract(plan, 2, timeout_s=0.2)
    # On a busy machine other answers may be late as well, and make more duplicates.
    late = setup.metrics.posts.by_status.labels("timeout")._value.get()
    least, most = (1, late) if script == "silence" else (2, late + 1)
    assert all(least <= times <= most for times in falco.received.receipts.values())
    assert outcomes(setup.metrics)[:2] == (2, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100_000,
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Endless: yes\r\n" * 20_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10,
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n\r\n",
    ],
)
async def test_absurd_answers_are_retried(data: bytes) -> None:
    plan = sending(lambda falco: falco.faults.garbage(data=data))
    falco, setup, _ = await contract(plan, 2)
    assert set(falco.received.receipts.values()) == {1}
    assert outcomes(setup.metrics) == (2, 0, 2)


# httpx leaves its generators to the garbage collector when reading ends early.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("head", [b"Content-Length: 99999999999", b"X: until the connection ends"])
async def test_an_endless_answer_is_an_answer(head: bytes) -> None:
    requests = 0

    async def endless(stream: trio.SocketStream) -> None:
        nonlocal requests
        requests += 1
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"x" * 65536)
        except trio.BrokenResourceError:
            pass

    ledger = await against(endless, 1)
    assert ledger.done == Position(0, "0")
    assert requests == 1


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\nonly this",
        b"Content-Length: 100\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["cut", "missing", "bad chunk", "cut chunk", "not gzip"],
)
@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
async def test_events_are_delivered_once_the_head_says_so(rest: bytes, *, ends: bool) -> None:
    """A body that is cut, hangs or is badly framed costs the connection, not a repetition."""
    requests = 0

    async def server(stream: trio.SocketStream) -> None:
        nonlocal requests
        async for data in stream:
            if not data.startswith(b"POST "):
                continue  # the rest of a request
            requests += 1
            await stream.send_all(b"HTTP/1.1 200 OK\r\n" + rest)
            if ends:
                await stream.aclose()
                return

    ledger = await against(server, 3, batch_max_events=1, concurrency=1)
    assert ledger.done == Position(2, "2")
    assert requests == 3


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_proxies_of_the_environment_are_not_for_the_audit_stream(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    async def proxy(stream: trio.SocketStream) -> None:
        nonlocal taken
        taken += 1
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, proxy, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "fd00::/8,10.0.0.0/8")  # as AKS writes it: httpx fails on it
        falco, _, ledger = await contract(send, 3)
        nursery.cancel_scope.cancel()
    assert ledger.done == Position(2, "2")
    assert len(falco.received.receipts) == 3
    assert taken == 0


def watched(setup: Setup) -> trio.Event:
    """An event that is set when the circuit opens."""
    held, open_ = trio.Event(), setup.breaker.open

    def tell(reason: str) -> None:
        open_(reason)
        held.set()

    setup.breaker.open = tell  # type: ignore[method-assign]
    return held


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_an_endpoint_that_refuses_connections_is_waited_for(concurrency: int) -> None:
    async def body(falco: Falco, setup: Setup, items: list[Item]) -> None:
        held = watched(setup)
        await falco.refuse()
        for item in items:
            setup.channel.put([item])
        await held.wait()
        assert "ConnectError" in (setup.breaker.ready() or "")
        falco.accept()
        await setup.in_flight.drained()
        assert setup.breaker.ready() is None

    falco, setup, ledger = await contract(body, 20, max_retries=1, concurrency=concurrency)
    receipts = falco.received.receipts
    assert len(receipts) == 20
    assert set(receipts.values()) == {1}
    assert outcomes(setup.metrics)[:2] == (20, 0)
    assert ledger.done == Position(19, "19")


async def test_an_outage_in_the_middle_loses_nothing() -> None:
    async def body(falco: Falco, setup: Setup, items: list[Item]) -> None:
        held = watched(setup)
        setup.channel.put(items[:10])
        await setup.in_flight.drained()
        await falco.refuse()
        setup.channel.put(items[10:])
        await held.wait()
        falco.accept()

    falco, _, ledger = await contract(body, 30, max_retries=0, concurrency=3)
    assert len(falco.received.receipts) == 30
    assert ledger.done == Position(29, "29")


async def test_credentials_go_as_basic_auth_and_into_no_line(lines: LogCapture) -> None:
    def with_credentials(url: str) -> str:
        return url.replace("http://", "http://user:pAssw0rd@") + "?token=t0ken"

    plan = sending(lambda falco: falco.faults.script("401 close 400"))
    falco, setup, _ = await contract(plan, 3, url=with_credentials, exhausted=Exhausted.DROP)
    for head in falco.received.heads:
        assert head["authorization"] == "Basic dXNlcjpwQXNzdzByZA=="
        assert "user" not in head["host"]
    told = repr(lines.entries) + repr(setup.breaker.ready())
    assert lines.entries
    assert "pAssw0rd" not in told
    assert "t0ken" not in told
    assert "dXNlcjpwQXNzdzByZA" not in told


@pytest.mark.parametrize("keepalive", [True, False])
async def test_connections_are_kept_or_closed_as_asked(*, keepalive: bool) -> None:
    async def body(_falco: Falco, setup: Setup, items: list[Item]) -> None:
        for item in items:
            setup.channel.put([item])
            await setup.in_flight.drained()

    falco, _, _ = await contract(body, 10, keepalive=keepalive)
    assert falco.received.requests == 10
    assert falco.received.connections == (1 if keepalive else 10)


async def test_a_connection_is_used_again_after_a_refusal() -> None:
    falco, _, _ = await contract(sending(lambda falco: falco.faults.script("400 503*2 400")), 2)
    assert falco.received.connections == 1


async def test_the_pool_posts_in_parallel() -> None:
    """Nobody is answered before the fourth has asked."""
    requests, all_there = 0, trio.Event()

    async def together(stream: trio.SocketStream) -> None:
        nonlocal requests
        await stream.receive_some(65536)
        requests += 1
        if requests == 4:
            all_there.set()
        await all_there.wait()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    ledger = await against(together, 4, concurrency=4, batch_max_events=1)
    assert ledger.done == Position(3, "3")
    assert requests == 4
