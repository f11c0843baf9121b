import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import trio
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from aks_audit.delivery.webhook import (
    ANSWER_MAX_BYTES,
    BODY_S,
    LIST_OVERHEAD,
    PIECE_BYTES,
    RETRY_AFTER_MAX_S,
    Body,
    Webhook,
    retry_after_s,
)
from aks_audit.errors import Rejected, Retryable
from aks_audit.ops.metrics import PostMetrics
from tests.helpers import audit_event, make_items, posted, url_config

Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


async def post(
    handler: Handler, url: str = "http://falco/k8s-audit", timeout_s: float = 30
) -> PostMetrics:
    """Post one body to a handler, in virtual time."""
    metrics = PostMetrics(CollectorRegistry())
    config = url_config(url, timeout_s=timeout_s)

    transport = httpx.MockTransport(handler)
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:
        await Webhook(client, config, metrics).post([b"{}"])
    return metrics


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def answer(
    status: int, headers: dict[str, str] | None = None, content: AsyncIterator[bytes] | None = None
) -> httpx.Response:
    """An answer whose body is yet to be read, as those of a real server."""
    return httpx.Response(status, headers=headers, content=content or nothing())


def answering(status: int, headers: dict[str, str] | None = None) -> Handler:
    async def handler(_: httpx.Request) -> httpx.Response:
        return answer(status, headers)

    return handler


def count(metrics: PostMetrics, label: str) -> float:
    value: float = metrics.by_status.labels(label)._value.get()
    return value


def test_one_event_is_encoded_as_it_is() -> None:
    raw = audit_event(note="ü").replace(b'":', b'" :\n')
    items, _ = make_items([raw])
    assert posted(items) == raw


@pytest.mark.parametrize("count", [0, 2, 3, 400])
def test_several_events_are_a_list_of_their_bytes(count: int) -> None:
    items, _ = make_items(count)
    body = posted(items)
    known = json.loads(body)
    assert known == {
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "items": [json.loads(item.event.raw) for item in items],
    }
    joined = sum(len(item.event.raw) + 1 for item in items) - (count > 0)
    assert len(body) == joined + LIST_OVERHEAD
    assert all(item.event.raw in body for item in items)


def test_a_large_body_is_put_together_in_pieces() -> None:
    events = [audit_event(f"id-{number}", padding="x" * 200_000) for number in range(12)]
    body = Body(events)
    pieces = list(body.pieces())
    assert len(pieces) > 3
    assert max(map(len, pieces)) < PIECE_BYTES + 201_000
    assert sum(map(len, pieces)) == body.size
    known = json.loads(b"".join(pieces))
    assert known["items"] == [json.loads(event) for event in events]


async def test_a_request_is_what_the_webhook_asks_for(autojump_clock: MockClock) -> None:
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        await request.aread()
        return answer(200)

    await post(handler)
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", "http://falco/k8s-audit")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Content-Length"] == "2"
    assert "Authorization" not in request.headers
    assert request.content == b"{}"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_success_is_success(status: int, autojump_clock: MockClock) -> None:
    assert count(await post(answering(status)), str(status)) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_payload_faults_are_rejections(status: int, autojump_clock: MockClock) -> None:
    with pytest.raises(Rejected, match=f"HTTP {status} ") as fault:
        await post(answering(status))
    assert fault.value.status == status


@pytest.mark.parametrize(
    "status", [300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 408, 409, 418, 429]
)
@pytest.mark.parametrize("location", [None, "http://elsewhere/", "http://[bad", "/relative"])
async def test_other_answers_speak_of_the_endpoint(
    status: int, location: str | None, autojump_clock: MockClock
) -> None:
    headers = {} if location is None else {"Location": location}
    with pytest.raises(Retryable):
        await post(answering(status, headers=headers))


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 599])
async def test_server_errors_are_retryable(status: int, autojump_clock: MockClock) -> None:
    with pytest.raises(Retryable) as fault:
        await post(answering(status, headers={"Retry-After": "7"}))
    assert (fault.value.status, fault.value.retry_after_s) == (status, 7)


async def test_a_redirect_is_not_followed(autojump_clock: MockClock) -> None:
    hosts: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return answer(307, {"Location": "http://elsewhere/"})

    with pytest.raises(Retryable, match="HTTP 307"):
        await post(handler)
    assert hosts == ["falco"]


async def test_the_timeout_covers_all_up_to_the_head(autojump_clock: MockClock) -> None:
    async def silent(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(Retryable, match=r"no answer within 2\.5 s"):
        await post(silent, timeout_s=2.5)


@pytest.mark.parametrize("timeout_s", [0.5, 30])
async def test_a_body_that_does_not_end_is_left(
    timeout_s: float, autojump_clock: MockClock
) -> None:
    async def trickle(_: httpx.Request) -> httpx.Response:
        async def content() -> AsyncIterator[bytes]:
            while True:
                await trio.sleep(0.4)
                yield b"x"

        return answer(200, content=content())

    metrics = await post(trickle, timeout_s=timeout_s)
    assert count(metrics, "200") == 1
    assert trio.current_time() == BODY_S


# httpx leaves its generators to the garbage collector when reading ends early.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_of_a_long_answer_only_the_beginning_is_read(autojump_clock: MockClock) -> None:
    read = 0

    async def handler(_: httpx.Request) -> httpx.Response:
        async def content() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1000
                yield b"x" * 1000

        return answer(200, content=content())

    await post(handler)
    assert read <= ANSWER_MAX_BYTES + 1000


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.PoolTimeout]
)
async def test_failures_of_the_network_are_retryable(
    error: type[httpx.HTTPError], autojump_clock: MockClock
) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise error("what is wrong")

    with pytest.raises(Retryable, match=f"{error.__name__}: what is wrong"):
        await post(handler)


async def test_a_failure_without_a_message_tells_its_cause(autojump_clock: MockClock) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("") from OSError("certificate verify failed")

    with pytest.raises(Retryable, match="ConnectError: certificate verify failed"):
        await post(handler)


async def test_a_failure_without_any_message_tells_its_kind(autojump_clock: MockClock) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("")

    with pytest.raises(Retryable, match=r"\AReadError\Z"):
        await post(handler)


async def test_credentials_of_the_url_are_basic_auth(autojump_clock: MockClock) -> None:
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answer(200)

    await post(handler, "http://user:p%40ss@falco/k8s-audit")
    assert seen[0].headers["Authorization"] == "Basic dXNlcjpwQHNz"
    assert "user" not in seen[0].headers["Host"]


async def test_each_post_is_counted_and_timed(autojump_clock: MockClock) -> None:
    metrics = await post(answering(200))
    assert count(metrics, "200") == 1
    assert metrics.post_seconds._sum.get() == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("299", 299),
        ("301", RETRY_AFTER_MAX_S),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Fri, 31 Dec 9999 23:59:59 -0000", RETRY_AFTER_MAX_S),
        ("Fri, 31 Dec 9999 23:59:59 -2359", RETRY_AFTER_MAX_S),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2030 00:00:00 +99999999999999999999", 0),
        ("Mon, 99 Jan 2030 00:00:00 GMT", 0),
        ("1 2 3", 0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_takes_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 3, 1, 10, tzinfo=UTC)
    monkeypatch.setattr(time, "time", now.timestamp)
    header = format_datetime(now + timedelta(seconds=42), usegmt=True)
    assert header.endswith("GMT")
    assert retry_after_s(header) == 42
