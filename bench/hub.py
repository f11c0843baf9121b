"""The emulator in a process of its own, with a backlog or a steady stream.

    python -m bench.hub LOAD

LOAD is a `Load` as JSON. Prints its connection string once the backlog is there. A steady stream
starts with the first line on standard input; at its end the number of its hub events is printed.
"""

import sys
import time
from datetime import UTC, datetime

import msgspec

from demo.stream import bench_bodies
from emulator import Broker, ThreadedEmulator

HUB = "insights-logs-kube-audit"
TICK_S = 0.01
RETENTION_BYTES = 4 * 1024**3


class Load(msgspec.Struct, frozen=True):
    """What is in the hub, and what comes in."""

    partitions: int = 4
    bodies: int = 0
    """Hub events of the backlog."""
    records: int = 22
    """Audit events in each hub event."""
    event_bytes: int = 1024
    """Bytes of each audit event."""
    clusters: int = 1
    bodies_per_s: float = 0.0
    """Hub events a second of the stream."""
    seconds: float = 0.0
    """How long the stream is."""

    @property
    def events(self) -> int:
        """Audit events of the backlog."""
        return self.bodies * self.records


def publish(broker: Broker, load: Load, count: int, *, time: str, seed: int) -> int:
    """Publish hub events; returns their bytes."""
    size = 0
    for each in bench_bodies(
        count,
        load.records,
        load.event_bytes,
        partitions=load.partitions,
        clusters=load.clusters,
        time=time,
        seed=seed,
    ):
        # A stream is published a few at a time: the partitions take turns all the same.
        partition = str((seed + each.partition) % load.partitions)
        broker.publish(HUB, partition, [each.body])
        size += len(each.body)
    return size


def stream(broker: Broker, load: Load) -> int:
    """Publish at a steady rate what is due at each tick; each event tells when it came.

    Returns the number of hub events.
    """
    start, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < load.seconds:
        due = int(elapsed * load.bodies_per_s) - sent
        if due:
            publish(broker, load, due, time=now(), seed=sent)
            sent += due
        time.sleep(TICK_S)
    return sent


def now() -> str:
    """The time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def main() -> None:
    """Run until standard input ends."""
    load = msgspec.json.decode(sys.argv[1], type=Load)
    broker = Broker({HUB: load.partitions}, retention_bytes=RETENTION_BYTES)
    size = publish(broker, load, load.bodies, time=now(), seed=0)
    with ThreadedEmulator(broker) as emulator:
        print(emulator.connection_string, size, flush=True)
        if sys.stdin.readline():
            print(stream(broker, load), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
