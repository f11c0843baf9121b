"""The stats endpoint over a real socket."""

import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from aks_audit.checkpoints.ledger import Ledger
from aks_audit.config.load import load
from aks_audit.config.settings import StatsConfig
from aks_audit.errors import Fatal
from aks_audit.ops import server as stats
from aks_audit.ops.health import Health
from aks_audit.ops.metrics import Metrics
from testkit.rig import DEADLINE_S

STATUS: dict[str, object] = {"name": "aks-audit-log", "partitions": {}}


class Running:
    """What the endpoint serves, and a client for it."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.health = Health()
        self.status: Callable[[], dict[str, object]] = lambda: STATUS
        self.port = 0

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            return await client.request(method, url)


async def serving(body: Callable[[Running], Awaitable[None]], host: str = "127.0.0.1") -> None:
    running = Running()
    async with trio.open_nursery() as nursery:
        running.port = await nursery.start(
            stats.run,
            StatsConfig(host, 0),
            running.metrics,
            running.health,
            lambda: running.status(),  # noqa: PLW0108 - it may be replaced
        )
        await body(running)
        nursery.cancel_scope.cancel()


async def test_metrics_are_served_in_the_text_format() -> None:
    async def body(running: Running) -> None:
        running.metrics.posts.events.inc(3)
        response = await running.get("/metrics")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert response.content == running.metrics.render()
        assert "falco_aks_audit_log_events 3\n" in response.text
        assert list(text_string_to_metric_families(response.text))

    await serving(body)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_are_well_when_every_part_is(path: str) -> None:
    async def body(running: Running) -> None:
        assert (await running.get(path)).json() == {"status": "ok"}
        running.health.add("part", live=lambda: None, ready=lambda: None)
        response = await running.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    await serving(body)


async def test_readiness_tells_what_is_wrong_and_recovers() -> None:
    async def body(running: Running) -> None:
        wrong: list[str | None] = ["the endpoint is away"]
        running.health.add("sink", ready=lambda: wrong[0])
        running.health.add("source", ready=lambda: None)
        response = await running.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {
            "status": "failing",
            "reasons": {"sink": "the endpoint is away"},
        }
        assert (await running.get("/livez")).status_code == 200
        wrong[0] = None
        assert (await running.get("/readyz")).status_code == 200

    await serving(body)


async def test_liveness_is_another_question() -> None:
    async def body(running: Running) -> None:
        running.health.add("source", live=lambda: "no progress")
        response = await running.get("/livez")
        assert response.status_code == 503
        assert response.json()["reasons"] == {"source": "no progress"}
        assert (await running.get("/readyz")).status_code == 200

    await serving(body)


async def test_the_status_page_shows_the_status() -> None:
    async def body(running: Running) -> None:
        response = await running.get("/")
        assert (response.status_code, response.json()) == (200, STATUS)

    await serving(body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/metrics/x", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/", 405),
        ("HEAD", "/livez", 200),
    ],
)
async def test_anything_else_is_refused(method: str, path: str, status: int) -> None:
    async def body(running: Running) -> None:
        assert (await running.get(path, method)).status_code == status

    await serving(body)


async def test_reasons_reach_no_terminal_raw() -> None:
    reason = "HTTP 503 \x1b[2J\x9b\u202e\u2028"

    async def body(running: Running) -> None:
        running.health.add("sink", ready=lambda: reason)
        running.status = lambda: {"unready": running.health.unready()}
        ready, page = await running.get("/readyz"), await running.get("/")
        for response in (ready, page):
            assert response.content.isascii()
        assert ready.json()["reasons"] == page.json()["unready"] == {"sink": reason}

    await serving(body)


HTTP_2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
H2C = (
    b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(H2C, b"HTTP/1.1 200 "), (HTTP_2_PREFACE, b"HTTP/1.1 4")],
    ids=["upgrade", "prior knowledge"],
)
async def test_http_2_is_not_spoken(sent: bytes, answered: bytes) -> None:
    async def body(running: Running) -> None:
        with trio.fail_after(DEADLINE_S):
            async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
                await stream.send_all(sent)
                answer = b"".join([part async for part in stream])
        assert answer.startswith(answered)
        assert b" 101 " not in answer
        assert (await running.get("/livez")).status_code == 200

    await serving(body)


async def test_a_broken_client_does_not_harm_the_others() -> None:
    async def body(running: Running) -> None:
        for data in (b"\x16\x03\x01\x00 no HTTP\r\n\r\n", b"GET / HT", b""):
            stream = await trio.open_tcp_stream("127.0.0.1", running.port)
            if data:
                await stream.send_all(data)
            await stream.aclose()
        assert (await running.get("/livez")).status_code == 200

    await serving(body)


async def test_a_client_that_says_nothing_does_not_hold_up_the_others() -> None:
    async def body(running: Running) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", running.port):
            assert (await running.get("/livez")).status_code == 200

    await serving(body)


async def test_an_unused_ipv6_address_is_served() -> None:
    async def body(running: Running) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            response = await client.get(f"http://[::1]:{running.port}/livez")
        assert response.status_code == 200

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    await serving(body, "::1")


async def fatal(config: StatsConfig) -> str:
    with pytest.raises(Fatal) as fault:
        await stats.run(config, Metrics(), Health(), lambda: STATUS)
    assert fault.value.exit_status == 1
    message = str(fault.value)
    del fault
    gc.collect()
    return message


# hypercorn leaves the socket that it could not bind to the garbage collector.
unclosed = pytest.mark.filterwarnings("ignore::ResourceWarning")


@unclosed
async def test_a_port_in_use_is_fatal_and_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = await fatal(StatsConfig("127.0.0.1", port))
    assert f"STATSADDRESS 127.0.0.1:{port}" in message
    assert "in use" in message


@unclosed
async def test_an_address_that_is_not_ours_is_fatal_and_names_the_setting() -> None:
    assert "STATSADDRESS 192.0.2.1:9000" in await fatal(StatsConfig("192.0.2.1", 9000))


async def test_the_port_is_free_again_afterwards() -> None:
    ports: list[int] = []

    async def body(running: Running) -> None:
        ports.append(running.port)
        assert (await running.get("/livez")).status_code == 200

    await serving(body)
    with socket.create_server(("127.0.0.1", ports[0])):
        pass


async def test_no_page_shows_a_secret() -> None:
    from aks_audit.app import _status  # noqa: PLC0415 - the SDK takes its time to import

    secrets = ["pAssw0rd", "t0ken", "c2VjcmV0a2V5", "YWNjb3VudGtleQ=="]
    environment = {
        "EHUBNAMESPACECONNECTIONSTRING": "Endpoint=sb://x/;SharedAccessKeyName=p;"
        f"SharedAccessKey={secrets[2]}",
        "BLOBSTORAGECONNECTIONSTRING": f"AccountName=acct;AccountKey={secrets[3]}",
        "WEBSINKURL": f"http://user:{secrets[0]}@falco/k8s-audit?token={secrets[1]}",
    }
    config = load(environment)
    pages: list[str] = []

    async def body(running: Running) -> None:
        running.status = status(running)
        running.health.add("sink", ready=lambda: f"away: {config.sink.display_url}")
        for path in ("/", "/metrics", "/livez", "/readyz", "/nowhere"):
            response = await running.get(path)
            pages.append(f"{response.headers} {response.text}")

    def status(running: Running) -> Callable[[], dict[str, Any]]:
        return lambda: _status(config, running.health, Ledger())

    await serving(body)
    shown = " ".join(pages)
    assert "http://falco/k8s-audit" in shown
    for secret in secrets:
        assert secret not in shown
