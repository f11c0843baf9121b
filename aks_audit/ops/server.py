"""The stats endpoint: /metrics, /livez, /readyz and a status page at /.

hypercorn serves it on the trio loop that does the work, on purpose: an answer shows that the loop
turns.
"""

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from hypercorn.config import Config as ServerConfig
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio import serve
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..config.settings import StatsConfig
from ..errors import Fatal
from .escapes import json_line
from .health import Health
from .logs import get_logger
from .metrics import Metrics

log = get_logger("stats")


async def run(
    config: StatsConfig,
    metrics: Metrics,
    health: Health,
    status: Callable[[], dict[str, object]],
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled.

    Args:
        config: Where to listen.
        metrics: For /metrics.
        health: For /livez and /readyz.
        status: Makes the status page.
        task_status: Is given the port, once it listens.

    Raises:
        Fatal: STATSADDRESS cannot be listened on.
    """
    server = ServerConfig()
    host = f"[{config.host}]" if ":" in config.host else config.host
    server.bind = [f"{host}:{config.port}"]
    server.accesslog = server.errorlog = None
    _speak_http_1_only()
    try:
        sockets = server.create_sockets()
    except OSError as error:
        raise Fatal(f"STATSADDRESS {host}:{config.port} cannot be used: {error}") from error
    listening = sockets.insecure_sockets[0]
    port: int = listening.getsockname()[1]
    # hypercorn binds again by itself, so it is given the very socket.
    server.bind = [f"fd://{listening.detach()}"]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, application(metrics, health, status), server)
        log.info("serving", metrics=f"http://{host}:{port}/metrics")
        task_status.started(port)


def application(
    metrics: Metrics, health: Health, status: Callable[[], dict[str, object]]
) -> Starlette:
    """The ASGI application."""

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def show_status(_: Request) -> Response:
        return _Escaped(status())

    return Starlette(
        routes=[
            Route("/metrics", show_metrics),
            Route("/livez", _probe(health.stalled)),
            Route("/readyz", _probe(health.unready)),
            Route("/", show_status),
        ]
    )


class _Http1(H11Protocol):
    """HTTP/1.1 that stays HTTP/1.1."""

    async def _check_protocol(self, event: object) -> None:
        """Change to HTTP/2 for no request: hypercorn would, on ``Upgrade: h2c`` or its preface."""


def _speak_http_1_only() -> None:
    """Have hypercorn's connections speak HTTP/1.1: it has no setting for it.

    Nobody needs HTTP/2 here, and its parser is one more that strangers reach.
    """
    protocols: Any = importlib.import_module("hypercorn.protocol")
    protocols.H11Protocol = _Http1


class _Escaped(JSONResponse):
    """JSON whose reasons may hold what an endpoint answered, and are read on terminals."""

    def render(self, content: object) -> bytes:
        """See Starlette."""
        return json_line(content).encode()


def _probe(failing: Callable[[], dict[str, str]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        wrong = failing()
        if wrong:
            return _Escaped({"status": "failing", "reasons": wrong}, status_code=503)
        return _Escaped({"status": "ok"})

    return answer
