"""One POST to the webhook: bytes in, nothing or a named error out.

Statuses are read as Falco's k8saudit webhook means them (plugin 0.18, ``source.go``): 2xx is
success; 400, 413 and 422 are about the payload; every other status is about the endpoint, which
may be well again later.
"""

import email.utils
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from http import HTTPStatus

import httpx
import trio

from ..config.authorities import bundle
from ..config.settings import SinkConfig
from ..errors import Rejected, Retryable, describe
from ..ops.metrics import PostMetrics

PAYLOAD_FAULTS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
ANSWER_MAX_BYTES = 64 * 1024
"""More of an answer is not read: its status is all that counts."""
BODY_S = 1.0
"""How long the body of an answer may take: Falco's is a few bytes, sent with the head."""
RETRY_AFTER_MAX_S = 300.0
"""An endpoint may ask for a pause, but not for one that is longer than most incidents."""

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
    """Posts audit events over one pool of connections."""

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
            Retryable: No answer within POSTTIMEOUT, no connection, or a status that is
                about the endpoint.
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
            raise Retryable(f"no answer within {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise Retryable(describe(error)) from error
        finally:
            self._metrics.by_status.labels(label).inc()
            self._metrics.post_seconds.observe(trio.current_time() - started)
        _classify(response)

    async def _send(self, body: Body) -> httpx.Response:
        headers = [*self._headers, (b"Content-Length", b"%d" % body.size)]
        request = httpx.Request("POST", self._url, headers=headers, stream=body)
        with trio.fail_after(self._timeout_s):
            response = await self._client.send(request, stream=True)
        try:
            await _read_rest(response)
        finally:
            await response.aclose()
        return response


@asynccontextmanager
async def open_webhook(config: SinkConfig, metrics: PostMetrics) -> AsyncIterator[Webhook]:
    """Open the connection pool of a sink."""
    limits = httpx.Limits(
        max_connections=config.concurrency,
        max_keepalive_connections=config.concurrency if config.keepalive else 0,
    )
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=bundle(config.ca_file)),
        limits=limits,
        timeout=None,  # noqa: S113 - `_send` has one up to the head; httpx's is one per read
        follow_redirects=False,
        # Not the proxies of the environment. AKS puts HTTP_PROXY into every pod (Azure/AKS #3174),
        # and a proxy's 200 would count as Falco's, for events that went to the proxy in clear.
        trust_env=False,
    ) as client:
        yield Webhook(client, config, metrics)


async def _read_rest(response: httpx.Response) -> None:
    """Read the body of an answer, so that its connection can be used again.

    The status has been read by then, and decides. A body that is cut, badly framed, or does not
    end costs the connection only: were it an error, events that Falco took would be sent again.
    """
    read = 0
    with suppress(httpx.HTTPError), trio.move_on_after(BODY_S):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > ANSWER_MAX_BYTES:
                break


def _classify(response: httpx.Response) -> None:
    if response.is_success:
        return
    status = response.status_code
    reason = f"HTTP {status} {response.reason_phrase}".rstrip()
    if status in PAYLOAD_FAULTS:
        raise Rejected(reason, status=status)
    raise Retryable(
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
