"""The emulator as a separate process, with a backlog or a steady stream.

    python -m bench.hub LOAD

LOAD is a `Load` as JSON. Prints its connection string once the backlog is there. A steady stream
starts with the first line on standard input; at its end the number of its hub events is printed.
"""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from emulator import Broker, ThreadedEmulator
from testkit.streams.stream import Published, bench_bodies

HUB = "insights-logs-kube-audit"
TICK_S = 0.01
RETENTION_BYTES = 4 * 1024**3
SOME_TIME = "2026-03-01T08:00:00.123456Z"
BODIES_OF_STREAM = 500


class Load(msgspec.Struct, frozen=True):
    """What is in the hub at first, and what is published later."""

    partitions: int = 4
    bodies: int = 0
    """Hub events of the backlog."""
    records: int = 22
    """Audit events in each hub event."""
    event_bytes: int = 1024
    """Bytes of each audit event."""
    clusters: int = 1
    hot: bool = False
    """Whether all hub events are in the last partition."""
    bodies_per_s: float = 0.0
    """Hub events a second of the stream."""
    seconds: float = 0.0
    """How long the stream is."""

    @property
    def events(self) -> int:
        """Audit events of the backlog."""
        return self.bodies * self.records

    def partition(self, turn: int) -> str:
        """Return where the hub event goes whose turn it is in a partition."""
        return str(self.partitions - 1 if self.hot else turn)


def publish(broker: Broker, load: Load) -> int:
    """Publish the backlog; returns its bytes."""
    size = 0
    for each in _bodies(load, load.bodies):
        broker.publish(HUB, load.partition(each.partition), [each.body])
        size += len(each.body)
    return size


def stream(broker: Broker, load: Load) -> int:
    """Publish a steady stream; each event carries the time at which it was published.

    Returns the number of hub events. Some bodies are made in advance and used again and again: only
    their times differ, which is enough to make different events.
    """
    bodies = [each.body for each in _bodies(load, BODIES_OF_STREAM)]
    start, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < load.seconds:
        stamp = now().encode()
        for number in range(sent, int(elapsed * load.bodies_per_s)):
            body = bodies[number % len(bodies)].replace(SOME_TIME.encode(), stamp)
            broker.publish(HUB, load.partition(number % load.partitions), [body])
            sent += 1
        time.sleep(TICK_S)
    return sent


def _bodies(load: Load, count: int) -> Iterable[Published]:
    return bench_bodies(
        count,
        load.records,
        load.event_bytes,
        partitions=load.partitions,
        clusters=load.clusters,
        time=SOME_TIME,
    )


def now() -> str:
    """Return the current time in the format of the API server."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def main() -> None:
    """Run until standard input ends."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    broker = Broker({HUB: load.partitions}, retention_bytes=RETENTION_BYTES)
    size = publish(broker, load)
    with ThreadedEmulator(broker) as emulator:
        print(emulator.connection_string, size, flush=True)
        if sys.stdin.readline():
            print(stream(broker, load), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
