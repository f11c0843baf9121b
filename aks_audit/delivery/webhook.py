"""One POST to the webhook: bytes in, nothing or a named error out.

Statuses are read as Falco's k8saudit webhook means them (plugin 0.18, ``source.go``): 2xx is
success; 400, 413 and 422 are about the payload; every other status is about the endpoint, which
may be well again later.
"""

import email.utils
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import trio

from ..config.authorities import bundle
from ..config.settings import SinkConfig
from ..errors import Broken, Rejected, Retryable, Silent, describe
from ..ops.metrics import PostMetrics

PAYLOAD_FAULTS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
GATEWAY_FAULTS = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Falco answers none of them: something in front of it does, which does not reach it."""
ANSWER_MAX_BYTES = 64 * 1024
"""More of an answer is not read: its status is all that counts."""
BODY_S = 1.0
"""How long the body of an answer may take: Falco's is a few bytes, sent with the head."""
RETRY_AFTER_MAX_S = 300.0
"""An endpoint may ask for a pause, but not for one that is longer than most incidents."""

KEEPALIVE_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""An idle connection is kept for as long as the endpoint likes. So whatever lies between must not
forget it (Azure's load balancers do so after 4 minutes), and the loss of a peer must be noticed."""
_CLOSED = -1
"""The number of a socket that is closed."""

_LIST_HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":['
_LIST_TAIL = b"]}"
LIST_OVERHEAD = len(_LIST_HEAD + _LIST_TAIL)
"""Bytes that an EventList adds around its joined items."""


PIECE_BYTES = 120 * 1024
"""A larger body is put together piece by piece, while it is sent. All senders may send one of
POSTBATCHMAXBYTES at the same time, and its events are in memory already."""


class Body(httpx.AsyncByteStream):
    """The body of a POST: one event as it is, else an EventList of the events' untouched bytes."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self._events = events
        self.size = sum(map(len, events))
        if len(events) != 1:
            self.size += LIST_OVERHEAD + max(0, len(events) - 1)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            yield piece

    def pieces(self) -> Iterator[bytes]:
        """The bytes, in order."""
        events = self._events
        if len(events) == 1:
            yield events[0]
            return
        part, size = [_LIST_HEAD], 0
        for number, event in enumerate(events):
            if size >= PIECE_BYTES:
                yield b"".join(part)
                part, size = [], 0
            if number:
                part.append(b",")
            part.append(event)
            size += len(event)
        part.append(_LIST_TAIL)
        yield b"".join(part)


class Webhook:
    """Posts audit events over one connection, which is kept if the endpoint keeps it."""

    _kept: trio.socket.SocketType | None = None
    """The connection that the next POST will use."""
    _closed = False
    """Whether the endpoint said, with an answer, that it closes a connection that was kept."""

    def __init__(self, client: httpx.AsyncClient, config: SinkConfig, metrics: PostMetrics) -> None:
        self._client = client
        self._url = httpx.URL(config.url.reveal())
        self._headers = [(b"Host", self._url.netloc), (b"Content-Type", b"application/json")]
        self._timeout_s = config.timeout_s
        self._metrics = metrics

    async def post(self, events: Sequence[bytes]) -> None:
        """Post audit events once, or an empty EventList where there are none.

        Args:
            events: One valid JSON object each.

        Raises:
            Broken: No connection, a connection that ended, or the status of a gateway.
            Silent: No answer within POSTTIMEOUT.
            Retryable: Another status that is about the endpoint.
            Rejected: A status that is about the payload.
        """
        started = trio.current_time()
        label = "error"
        try:
            response = await self._send(Body(events))
            label = str(response.status_code)
        except trio.TooSlowError as error:
            # Falco may have taken it all the same: it answers late under load.
            label = "timeout"
            raise Silent(f"no answer within {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise Broken(describe(error)) from error
        finally:
            self._metrics.by_status.labels(label).inc()
            self._metrics.post_seconds.observe(trio.current_time() - started)
        _classify(response)

    async def _send(self, body: Body) -> httpx.Response:
        headers = [*self._headers, (b"Content-Length", b"%d" % body.size)]
        kept, self._kept = self._kept, None

        async def trace(name: str, _: dict[str, Any]) -> None:
            # Where the endpoint has closed the kept connection, httpcore opens a new one without
            # a word: https://www.encode.io/httpcore/extensions/#trace
            if kept is not None and name == "connection.connect_tcp.started":
                raise Broken("it closed a connection")

        request = httpx.Request(
            "POST", self._url, headers=headers, stream=body, extensions={"trace": trace}
        )
        with trio.fail_after(self._timeout_s):
            response = await self._client.send(request, stream=True)
        try:
            whole = await _read_rest(response)
        finally:
            await response.aclose()
        used = _socket(response)
        if used is not None and used.fileno() != _CLOSED:
            self._kept = used
        else:
            self._closed = whole and kept is not None
        return response

    def lost(self) -> bool:
        """Whether the endpoint has closed the connection since the last POST; says it once."""
        kept = self._kept
        if kept is not None and (kept.fileno() == _CLOSED or kept.is_readable()):
            self._kept = None
            return True
        closed, self._closed = self._closed, False
        return closed


@asynccontextmanager
async def open_webhook(config: SinkConfig, metrics: PostMetrics) -> AsyncIterator[Webhook]:
    """Open one connection to a sink, as soon as it is needed and whenever it is."""
    limits = httpx.Limits(
        max_connections=1,
        max_keepalive_connections=1 if config.keepalive else 0,
        # Only the endpoint closes an idle connection: that it does so says something.
        keepalive_expiry=None,
    )
    transport = httpx.AsyncHTTPTransport(
        verify=_tls(config.ca_file),
        limits=limits,
        socket_options=KEEPALIVE_OPTIONS,
        trust_env=False,
    )
    async with httpx.AsyncClient(
        transport=transport,
        # For each read and write, and never the first to end: `_send` has one for all up to the
        # head of the answer, and `_read_rest` has one for the rest.
        timeout=2 * config.timeout_s + BODY_S,
        follow_redirects=False,
        # Not the proxies of the environment. AKS puts HTTP_PROXY into every pod (Azure/AKS #3174),
        # and a proxy's 200 would count as Falco's, for events that went to the proxy in clear.
        trust_env=False,
    ) as client:
        yield Webhook(client, config, metrics)


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """The certificate authorities to trust: read once, they take a megabyte and 20 ms."""
    return ssl.create_default_context(cafile=bundle(ca_file))


def _socket(response: httpx.Response) -> trio.socket.SocketType | None:
    """The socket over which an answer came."""
    stream = response.extensions.get("network_stream")
    found: trio.socket.SocketType | None = stream and stream.get_extra_info("socket")
    return found


async def _read_rest(response: httpx.Response) -> bool:
    """Read the body of an answer, so that its connection can be used again; returns whether all.

    The status has been read by then, and decides. A body that is cut, badly framed, or does not
    end costs the connection only: were it an error, events that Falco took would be sent again.
    """
    read = 0
    with suppress(httpx.HTTPError), trio.move_on_after(BODY_S):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > ANSWER_MAX_BYTES:
                return False
        return True
    return False


def _classify(response: httpx.Response) -> None:
    if response.is_success:
        return
    status = response.status_code
    reason = f"HTTP {status} {response.reason_phrase}".rstrip()
    if status in PAYLOAD_FAULTS:
        raise Rejected(reason, status=status)
    kind = Broken if status in GATEWAY_FAULTS else Retryable
    raise kind(
        reason, status=status, retry_after_s=retry_after_s(response.headers.get("Retry-After"))
    )


def retry_after_s(header: str | None) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number or a date."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return min(float(header), RETRY_AFTER_MAX_S)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - time.time()), RETRY_AFTER_MAX_S)
