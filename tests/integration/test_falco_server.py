"""The stand-in over real sockets: what the webhook's contract says, and what it remembers."""

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from testkit.falco import Settings, ThreadedFalco
from testkit.rig import DEADLINE_S

JSON = {"Content-Type": "application/json"}


def event(audit_id: str = "a", stage: str = "ResponseComplete", pad: str = "") -> bytes:
    fields = {
        "kind": "Event",
        "auditID": audit_id,
        "stage": stage,
        "requestURI": pad,
        "stageTimestamp": "2026-03-01T10:00:00Z",
    }
    return json.dumps(fields).encode()


def event_list(*items: bytes) -> bytes:
    return b'{"kind":"EventList","items":[' + b",".join(items) + b"]}"


@pytest.fixture
def falco() -> Iterator[ThreadedFalco]:
    with ThreadedFalco() as running:
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers=JSON, timeout=DEADLINE_S) as opened:
        yield opened


def exchange(falco: ThreadedFalco, *parts: bytes) -> bytes:
    """Send raw bytes and read to the end of the connection."""
    with socket.create_connection(("127.0.0.1", falco.port), timeout=DEADLINE_S) as sock:
        for part in parts:
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


def head(*fields: str, method: str = "POST", path: str = "/k8s-audit") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: falco", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_an_event_is_taken_and_remembered(falco: ThreadedFalco, client: httpx.Client) -> None:
    response = client.post(falco.url, content=event("a"))
    assert (response.status_code, response.content) == (200, b"")
    assert falco.receipts == {("a", "ResponseComplete"): 1}
    assert falco.bodies == [event("a")]
    assert falco.received.heads[0]["content-type"] == "application/json"


def test_a_list_is_taken_item_by_item(falco: ThreadedFalco, client: httpx.Client) -> None:
    items = [event("a"), event("a", "ResponseStarted"), b"{}", event("b")]
    client.post(falco.url, content=event_list(*items))
    assert set(falco.events.values()) == {items[0], items[1], items[3]}
    assert [drop.reason for drop in falco.dropped] == ["kind is not Event"]
    assert falco.received.batches == {4: 1}


def test_duplicates_are_counted_for_each_event(falco: ThreadedFalco, client: httpx.Client) -> None:
    client.post(falco.url, content=event_list(event("a"), event("b")))
    client.post(falco.url, content=event("a"))
    assert falco.receipts == {("a", "ResponseComplete"): 2, ("b", "ResponseComplete"): 1}
    assert (falco.count, falco.received.unique, falco.received.duplicates) == (3, 2, 1)


def test_an_unparsable_body_is_accepted_and_dropped(
    falco: ThreadedFalco, client: httpx.Client
) -> None:
    for body in (b"no json", b"", event_list(event(), b"{bad}")):
        assert client.post(falco.url, content=body).status_code == 200
    assert falco.count == 0
    assert [drop.whole_body for drop in falco.dropped] == [True] * 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_anything_but_post_is_not_allowed(
    falco: ThreadedFalco, client: httpx.Client, method: str
) -> None:
    assert client.request(method, falco.url).status_code == 405
    assert client.post(falco.url, content=event()).status_code == 200
    assert falco.received.connections == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/jso", ""])
def test_a_wrong_content_type_is_refused(falco: ThreadedFalco, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    assert (
        httpx.post(falco.url, content=event(), headers=headers, timeout=DEADLINE_S).status_code
        == 400
    )
    assert falco.received.taken_bodies == 0


def test_content_type_may_have_parameters(falco: ThreadedFalco) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (
        httpx.post(falco.url, content=event(), headers=headers, timeout=DEADLINE_S).status_code
        == 200
    )


def test_a_missing_content_type_is_refused(falco: ThreadedFalco) -> None:
    answer = exchange(falco, head("Content-Length: 2"), b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_other_paths_are_not_found(falco: ThreadedFalco, client: httpx.Client) -> None:
    assert client.post(falco.url + "/x", content=event()).status_code == 404
    assert client.post(falco.url + "?a=b", content=event()).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(falco: ThreadedFalco, *, chunked: bool) -> None:
    limit = 12 * 1024 * 1024
    body = event(pad="x" * (limit + 1 - len(event())))
    assert len(body) == limit + 1

    def content(data: bytes) -> bytes | Iterator[bytes]:
        return iter([data[:limit], data[limit:]]) if chunked else data

    assert (
        httpx.post(falco.url, content=content(body), headers=JSON, timeout=DEADLINE_S).status_code
        == 400
    )
    assert falco.received.taken_bodies == 0
    assert (
        httpx.post(
            falco.url, content=content(body[:-1]), headers=JSON, timeout=DEADLINE_S
        ).status_code
        == 200
    )


def test_a_connection_is_kept_alive(falco: ThreadedFalco, client: httpx.Client) -> None:
    for number in range(20):
        client.post(falco.url, content=event(str(number)))
    assert (falco.count, falco.received.connections) == (20, 1)


def test_connection_close_is_honoured(falco: ThreadedFalco) -> None:
    length = f"Content-Length: {len(event())}"
    request = head("Content-Type: application/json", length, "Connection: close") + event()
    with socket.create_connection(("127.0.0.1", falco.port), timeout=DEADLINE_S) as sock:
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_several_connections_are_served_at_once(falco: ThreadedFalco) -> None:
    with socket.create_connection(("127.0.0.1", falco.port)) as idle:
        idle.sendall(head("Content-Type: application/json", "Content-Length: 99"))
        assert (
            httpx.post(falco.url, content=event(), headers=JSON, timeout=DEADLINE_S).status_code
            == 200
        )


def test_pipelined_requests_are_answered_in_order(falco: ThreadedFalco) -> None:
    length = f"Content-Length: {len(event())}"
    request = head("Content-Type: application/json", length) + event()
    answer = exchange(falco, request, head(method="GET"), request)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"405", b"200"]


def test_a_chunked_body_is_put_together(falco: ThreadedFalco, client: httpx.Client) -> None:
    body = event_list(event("a"), event("b"))
    client.post(falco.url, content=iter([body[:30], body[30:31], body[31:]]))
    assert falco.bodies == [body]


def test_a_client_that_expects_100_is_told_to_continue(falco: ThreadedFalco) -> None:
    fields = ["Content-Type: application/json", f"Content-Length: {len(event())}"]
    with socket.create_connection(("127.0.0.1", falco.port), timeout=DEADLINE_S) as sock:
        sock.sendall(head(*fields, "Expect: 100-continue"))
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(event())
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_expects_100_is_refused_before_it_sends(falco: ThreadedFalco) -> None:
    request = head("Content-Length: 5", "Expect: 100-continue")
    assert exchange(falco, request).startswith(b"HTTP/1.1 400 ")


def test_a_request_that_is_not_http_is_refused(falco: ThreadedFalco) -> None:
    assert exchange(falco, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_body_cut_short_is_not_taken(falco: ThreadedFalco) -> None:
    request = head("Content-Type: application/json", "Content-Length: 999") + event()
    assert exchange(falco, request).startswith(b"HTTP/1.1 400 ")
    assert falco.received.taken_bodies == 0


def test_bytes_and_items_can_be_counted_only() -> None:
    with ThreadedFalco(settings=Settings(count_only=True)) as falco:
        body = event_list(event("a"), event("a"), event("b"))
        httpx.post(falco.url, content=body, headers=JSON, timeout=DEADLINE_S)
        assert (falco.count, falco.received.taken_bytes) == (3, len(body))
        assert falco.receipts == {}
        assert falco.bodies == []


def test_the_path_can_be_another(client: httpx.Client) -> None:
    with ThreadedFalco(settings=Settings(path="/k8s_audit")) as falco:
        assert falco.url.endswith("/k8s_audit")
        assert client.post(falco.url, content=event()).status_code == 200


def test_wait_for_returns_at_the_arrival(falco: ThreadedFalco, client: httpx.Client) -> None:
    client.post(falco.url, content=event())
    assert falco.wait_for(lambda: falco.count == 1, timeout=DEADLINE_S)


def test_wait_for_says_what_came_instead(falco: ThreadedFalco, client: httpx.Client) -> None:
    client.post(falco.url, content=event())
    with pytest.raises(TimeoutError, match="'events': 1"):
        falco.wait_for(lambda: falco.count == 2, timeout=0.01)


def test_the_summary_is_json(falco: ThreadedFalco, client: httpx.Client) -> None:
    client.post(falco.url, content=event())
    summary = json.loads(json.dumps(falco.received.summary()))
    assert summary["answers"] == {"200": 1}
    assert summary["events"] == 1
