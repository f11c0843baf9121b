"""Each fault of the stand-in, as a client meets it."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import trio

from testkit.falco import Settings, ThreadedFalco, serve_falco
from testkit.falco.faults import HEALTHY, Faults, Kind
from testkit.rig import DEADLINE_S

BODY = b'{"kind":"Event","auditID":"a","stageTimestamp":"2026-03-01T10:00:00Z"}'
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def falco() -> Iterator[ThreadedFalco]:
    with ThreadedFalco() as running:
        yield running


def post(falco: ThreadedFalco, body: bytes = BODY) -> httpx.Response:
    return httpx.post(falco.url, content=body, headers=JSON, timeout=60)


def test_a_status_is_answered_as_often_as_planned(falco: ThreadedFalco) -> None:
    falco.faults.answer(503, times=2, retry_after=7)
    answers = [post(falco) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "7", None]
    assert falco.count == 1
    assert falco.received.answers == {503: 2, 200: 1}


def test_a_status_can_come_although_the_events_were_taken(falco: ThreadedFalco) -> None:
    falco.faults.answer(500, taken=True, headers={"X-Reason": "late"})
    assert post(falco).headers["X-Reason"] == "late"
    assert falco.count == 1


def test_a_planned_200_lets_a_request_pass(falco: ThreadedFalco) -> None:
    falco.faults.script("200 500 200*2 429:3")
    statuses = [post(falco).status_code for _ in range(5)]
    assert statuses == [200, 500, 200, 200, 429]
    assert falco.count == 3


def test_a_standing_fault_ends_when_it_is_cleared(falco: ThreadedFalco) -> None:
    falco.faults.script("401*forever")
    assert [post(falco).status_code for _ in range(3)] == [401] * 3
    falco.faults.clear()
    assert post(falco).status_code == 200


def test_a_requests_that_breaks_the_rules_uses_up_no_fault(falco: ThreadedFalco) -> None:
    falco.faults.answer(503)
    assert httpx.get(falco.url, timeout=DEADLINE_S).status_code == 405
    assert post(falco).status_code == 503


def test_a_poisoned_body_is_rejected_each_time(falco: ThreadedFalco) -> None:
    falco.faults.reject("toxic", 422)
    falco.faults.reject(b"huge", 413)
    bodies = (b"a toxic body", BODY, b"toxic", b"a huge body")
    assert [post(falco, body).status_code for body in bodies] == [422, 200, 422, 413]
    assert falco.received.taken_bodies == 1


def test_a_connection_is_cut_in_the_middle_of_the_request(falco: ThreadedFalco) -> None:
    falco.faults.cut()
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        post(falco, BODY + b" " * 8_000_000)
    assert falco.received.taken_bodies == 0
    assert post(falco).status_code == 200


@pytest.mark.parametrize("taken", [False, True])
def test_a_connection_is_closed_in_place_of_the_answer(
    falco: ThreadedFalco, *, taken: bool
) -> None:
    falco.faults.close(taken=taken)
    with pytest.raises(httpx.RemoteProtocolError):
        post(falco)
    assert falco.count == int(taken)


def unanswered(falco: ThreadedFalco, under_way: Callable[[], bool]) -> bool:
    """Post, and cut the connection once something holds; tell whether no answer had come."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, falco)
        falco.wait_for(under_way)
        falco.refuse()
        # A reset where something of the request was not read yet.
        return isinstance(answer.exception(), httpx.RemoteProtocolError | httpx.ReadError)


def test_no_answer_comes(falco: ThreadedFalco) -> None:
    falco.faults.silence()
    assert unanswered(falco, lambda: falco.received.requests == 1)
    assert falco.count == 0


def test_a_late_answer_follows_events_that_were_taken(falco: ThreadedFalco) -> None:
    falco.faults.delay(3600)
    assert unanswered(falco, lambda: falco.count == 1)


def test_a_delayed_answer_comes_in_the_end(falco: ThreadedFalco) -> None:
    falco.faults.delay(0.01)
    assert post(falco).status_code == 200


def test_an_answer_trickles(falco: ThreadedFalco) -> None:
    falco.faults.trickle(0.05)
    assert post(falco).status_code == 200
    assert falco.count == 1


def test_an_answer_trickles_longer_than_anybody_waits(falco: ThreadedFalco) -> None:
    falco.faults.trickle(360_000)
    assert unanswered(falco, lambda: falco.count == 1)


def test_garbage_is_answered(falco: ThreadedFalco) -> None:
    falco.faults.garbage()
    with pytest.raises(httpx.RemoteProtocolError):
        post(falco)
    assert post(falco).status_code == 200


def test_refusing_cuts_connections_and_keeps_the_port(falco: ThreadedFalco) -> None:
    with httpx.Client(headers=JSON, timeout=DEADLINE_S) as client:
        assert client.post(falco.url, content=BODY).status_code == 200
        for _ in range(3):
            with falco.refusing(), pytest.raises(httpx.ConnectError):
                client.post(falco.url, content=BODY)
            assert client.post(falco.url, content=BODY).status_code == 200
    assert falco.count == 4


def test_refusing_ends_a_request_that_is_under_way(falco: ThreadedFalco) -> None:
    falco.faults.silence()
    assert unanswered(falco, lambda: falco.received.requests == 1)
    falco.accept()
    assert post(falco).status_code == 200


def test_a_stand_in_can_end_while_it_refuses() -> None:
    with ThreadedFalco() as falco:
        falco.refuse()
        falco.refuse()
        address = ("127.0.0.1", falco.port)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


def test_accepting_twice_is_accepting_once(falco: ThreadedFalco) -> None:
    falco.accept()
    falco.refuse()
    falco.accept()
    falco.accept()
    assert post(falco).status_code == 200


def test_latency_is_added_and_the_events_are_taken_before(falco: ThreadedFalco) -> None:
    falco.faults.latency_ms = 3_600_000
    assert unanswered(falco, lambda: falco.count == 1)


async def test_a_trio_program_can_run_the_stand_in() -> None:
    async with trio.open_nursery() as nursery:
        falco = await nursery.start(serve_falco, "127.0.0.1", 0, Settings())
        falco.faults.answer(503)
        async with httpx.AsyncClient(headers=JSON, timeout=DEADLINE_S) as client:
            for _ in range(2):
                await client.post(falco.url, content=BODY)
            await falco.refuse()
            with pytest.raises(httpx.ConnectError):
                await client.post(falco.url, content=BODY)
        nursery.cancel_scope.cancel()
    assert falco.received.receipts == {("a", ""): 1}


@pytest.mark.parametrize("text", ["nonsense", "503*", "503*x", "99999", "cut:", "-1"])
def test_a_script_that_makes_no_sense_plans_nothing(text: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="not a"):
        faults.script(f"503 {text}")
    assert not faults.pending


def test_a_script_is_followed_in_order() -> None:
    faults = Faults()
    faults.script("503:2 cut*2 delay:1.5 silence")
    kinds = [faults.next() for _ in range(6)]
    assert [fault.kind for fault in kinds[1:5]] == [Kind.CUT, Kind.CUT, Kind.DELAY, Kind.SILENCE]
    assert (kinds[0].headers, kinds[3].seconds, kinds[3].taken) == ({"Retry-After": "2"}, 1.5, True)
    assert kinds[5] is HEALTHY
    assert not faults.pending


def test_a_queue_is_answered_first_and_lost_with_its_falco() -> None:
    """As measured with the real Falco: its queue, the body at the worker, and who waits."""
    with (
        ThreadedFalco(settings=Settings(queue_bodies=2, events_per_s=1e-6)) as falco,
        ThreadPoolExecutor() as threads,
    ):
        assert [post(falco).status_code for _ in range(3)] == [200, 200, 200]
        waiting = threads.submit(post, falco)
        falco.wait_for(lambda: falco.received.requests == 4)
        assert not waiting.done()
        falco.restart()
        assert waiting.result().status_code == 200
        assert waiting.result().headers["Connection"] == "close"
        assert falco.count == 0


@pytest.mark.parametrize("kill", [True, False])
def test_what_is_out_of_the_queue_is_received(*, kill: bool) -> None:
    with ThreadedFalco(settings=Settings(queue_bodies=50)) as falco:
        for count in (1, 2):
            assert post(falco).status_code == 200
            falco.wait_for(lambda: falco.count == count)  # noqa: B023 - called before it changes
            falco.restart(kill=kill)
    assert falco.count == 2
