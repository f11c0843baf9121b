"""The webhook as a separate process: it counts, and measures delays on request.

    python -m bench.sink LATENCY_MS [delays | stalled]

It is much cheaper than Falco, so that the forwarder is what is measured: it receives a body and
counts its events. It prints its URL and, for each line on standard input, a `Taken` as JSON.
``delays`` reports how long after its stageTimestamp each event arrived; ``stalled`` answers
everything with 503.
"""

import asyncio
import re
import sys
import time
from datetime import datetime

import msgspec

_ID = b'"auditID"'
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_STAGE_TIME = re.compile(rb'"stageTimestamp":"([^"]+)"')


class Taken(msgspec.Struct):
    """What has arrived so far."""

    events: int = 0
    posts: int = 0
    delays_s: list[float] = msgspec.field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection of the forwarder: POSTs with a Content-Length, one after the other."""

    def __init__(self, taken: Taken, latency_s: float, status: bytes, *, delays: bool) -> None:
        self._taken = taken
        self._latency_s = latency_s
        self._answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
        self._accepts = status.startswith(b"2")
        self._delays = delays
        self._parts: list[bytes] = []
        self._missing = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Process the next bytes of a head or a body."""
        if self._missing:
            self._take(data)
            return
        head, found, body = b"".join((*self._parts, data)).partition(b"\r\n\r\n")
        if not found:
            self._parts.append(data)
            return
        length = _LENGTH.search(head)
        assert length is not None, "a POST without Content-Length"
        self._parts, self._missing = [], int(length[1])
        self._take(body)

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if not self._missing:
            body, self._parts = b"".join(self._parts), []
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._finish, body)
            else:
                self._finish(body)

    def _finish(self, body: bytes) -> None:
        if self._accepts:
            self._taken.posts += 1
            self._taken.events += body.count(_ID)
            if self._delays:
                now = time.time()
                self._taken.delays_s += [
                    now - datetime.fromisoformat(text.decode()).timestamp()
                    for text in _STAGE_TIME.findall(body)
                ]
        self._transport.write(self._answer)


async def serve(latency_s: float, mode: str) -> None:
    """Serve until standard input ends."""
    taken = Taken()
    status = b"503 Service Unavailable" if mode == "stalled" else b"200 OK"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(taken, latency_s, status, delays=mode == "delays"), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/k8s-audit", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(msgspec.json.encode(taken).decode(), flush=True)


def main() -> None:
    """Run the command line."""
    mode = sys.argv[2] if len(sys.argv) > 2 else ""
    asyncio.run(serve(float(sys.argv[1]) / 1000, mode))


if __name__ == "__main__":
    main()
