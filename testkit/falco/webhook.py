"""One HTTP/1.1 connection of the stand-in: h11 for the protocol, the fault script for the rest.

It uses raw sockets and not a framework, because an endpoint that fails may also close in the
middle of a request, answer with garbage, or never answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path

import h11
import trio

from testkit.falco.faults import Fault, Faults, Kind
from testkit.falco.queue import BodyQueue
from testkit.falco.received import Received

_RECEIVE_BYTES = 256 * 1024
_LINGER_SECONDS = 1.0

_Event = h11.Event | type[h11.PAUSED]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the endpoint behaves without a fault."""

    path: str = "/k8s-audit"
    max_body_bytes: int = 12 * 1024 * 1024
    """The plugin's default `webhookMaxBatchSize`."""
    latency_ms: float = 0.0
    count_only: bool = False
    """Whether bytes and items are only counted, and Falco's rules not applied to each event."""
    keep_bytes: bool = False
    """Whether bodies and header fields are kept as they came."""
    queue_bodies: int = 0
    """Bodies that are answered before they are looked at, as Falco does (50); 0 answers later."""
    events_per_s: float = 0.0
    """The speed at which the queue is emptied; 0 is without a limit."""
    journal: Path | None = None
    """A file that gets a line for each event that was taken out of the queue."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    text: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    last: bool = False
    """Whether the connection is closed after it."""


class _TooLargeError(Exception):
    """The body is over the limit; the rest of it is not read."""


class _CutError(Exception):
    """The connection is to be closed now, because a fault says so."""


async def serve_connection(
    stream: trio.SocketStream,
    settings: Settings,
    faults: Faults,
    received: Received,
    queue: BodyQueue | None = None,
) -> None:
    """Serve the requests of one connection until either side ends it."""
    received.note_connection()
    connection = _Connection(stream, settings, faults, received, queue)
    async with stream:
        try:
            while await connection.serve_request():
                pass
            await connection.linger()
        except (trio.BrokenResourceError, _CutError):
            return  # the client has closed the connection, or a fault has


class _Connection:
    """One client: h11 on its socket."""

    def __init__(
        self,
        stream: trio.SocketStream,
        settings: Settings,
        faults: Faults,
        received: Received,
        queue: BodyQueue | None,
    ) -> None:
        self._stream = stream
        self._queue = queue
        self._settings = settings
        self._faults = faults
        self._received = received
        self._http = h11.Connection(h11.SERVER)

    async def serve_request(self) -> bool:
        """Serve one request; the result tells whether the connection can carry another."""
        try:
            request = await self._next_event()
            if not isinstance(request, h11.Request):
                return False
            if not await self._respond(request):
                return False
        except h11.RemoteProtocolError:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(_Answer(400, b"400 Bad Request", last=True))
            return False
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def linger(self) -> None:
        """Let the client read the last answer: a close with unread bytes is a reset."""
        await self._stream.send_eof()
        with trio.move_on_after(_LINGER_SECONDS):
            await self._until_gone()

    async def _next_event(self) -> _Event:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._stream.send_all(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            self._http.receive_data(await self._stream.receive_some(_RECEIVE_BYTES))

    async def _respond(self, request: h11.Request) -> bool:
        self._received.note_request()
        refusal = self._refusal(request)
        if refusal is not None:
            return await self._refuse(request, refusal)
        fault = self._faults.next()
        if fault.kind is Kind.CUT:
            raise _CutError
        try:
            body = await self._read_body(request)
        except _TooLargeError:
            return await self._send(_Answer(400, b"bad request: body too large", last=True))
        return await self._accept(body, request, fault)

    async def _accept(self, body: bytes, request: h11.Request, fault: Fault) -> bool:
        if fault.taken:
            fault = self._faults.poisoned(body) or fault
        if fault.taken:
            # Before the answer is sent, so that whoever has the answer finds the events recorded;
            # what the body holds has no influence on the answer.
            names = ((name.decode(), value.decode("latin-1")) for name, value in request.headers)
            if self._queue is None:
                self._received.take(body, dict(names))
            else:
                await self._queue.take(body, dict(names))
        if self._faults.latency_ms:
            await trio.sleep(self._faults.latency_ms / 1000)
        return await self._react(fault)

    def _refusal(self, request: h11.Request) -> _Answer | None:
        """Apply the rules of the webhook's handler, in its order."""
        if request.target.split(b"?")[0] != self._settings.path.encode():
            return _Answer(404, b"404 page not found")
        if request.method != b"POST":
            method = request.method if request.method != b"HEAD" else b""
            return _Answer(405, method and method + b" method not allowed")
        types = [value for name, value in request.headers if name == b"content-type"]
        if not types or b"application/json" not in types[0]:
            return _Answer(400, b"wrong Content Type")
        return None

    async def _refuse(self, request: h11.Request, answer: _Answer) -> bool:
        """Read and ignore the body, so that the connection stays usable, and answer."""
        last = self._http.they_are_waiting_for_100_continue
        try:
            if not last:
                await self._read_body(request)
        except _TooLargeError:
            last = True
        return await self._send(replace(answer, last=last))

    async def _read_body(self, request: h11.Request) -> bytes:
        limit = self._settings.max_body_bytes
        if _content_length(request) > limit:
            raise _TooLargeError
        chunks: list[bytes] = []
        size = 0
        while isinstance(event := await self._next_event(), h11.Data):
            chunks.append(bytes(event.data))
            size += len(event.data)
            if size > limit:
                raise _TooLargeError
        return b"".join(chunks)

    async def _react(self, fault: Fault) -> bool:
        ending = self._queue is not None and self._queue.stopping
        answer = _Answer(fault.status, headers=fault.headers, last=ending)
        match fault.kind:
            case Kind.STATUS:
                return await self._send(answer)
            case Kind.DELAY:
                await trio.sleep(fault.seconds)
                return await self._send(answer)
            case Kind.TRICKLE:
                return await self._send(answer, over_seconds=fault.seconds)
            case Kind.GARBAGE:
                await self._stream.send_all(fault.data)
            case Kind.SILENCE:
                await self._until_gone()
            case Kind.CUT | Kind.CLOSE:
                raise _CutError
        return False

    async def _send(self, answer: _Answer, *, over_seconds: float = 0.0) -> bool:
        self._received.note_answer(answer.status)
        headers = [("Date", formatdate(usegmt=True)), ("Content-Length", str(len(answer.text)))]
        headers += answer.headers.items()
        if answer.last:
            headers.append(("Connection", "close"))
        response = h11.Response(status_code=answer.status, headers=headers)
        events: list[h11.Event] = [response, h11.Data(data=answer.text), h11.EndOfMessage()]
        data = b"".join(self._http.send(event) or b"" for event in events)
        if not over_seconds:
            await self._stream.send_all(data)
            return True
        for index in range(len(data)):
            await trio.sleep(over_seconds / len(data))
            await self._stream.send_all(data[index : index + 1])
        return True

    async def _until_gone(self) -> None:
        while await self._stream.receive_some(_RECEIVE_BYTES):
            pass


def _content_length(request: h11.Request) -> int:
    values = (int(value) for name, value in request.headers if name == b"content-length")
    return next(values, 0)
