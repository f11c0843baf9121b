"""The emulator in a process of its own, with a backlog or a steady stream.

    python -m bench.hub PARTITIONS BACKLOG_BODIES RECORDS EVENT_BYTES [BODIES_PER_S SECONDS]

Prints its connection string once the backlog is there. A steady stream starts
with the first line on standard input.
"""

import sys
import time

from demo.stream import bench_bodies
from emulator import Broker, ThreadedEmulator

HUB = "insights-logs-kube-audit"


def main() -> None:
    """Run until standard input ends."""
    numbers = [float(text) for text in sys.argv[1:]]
    partitions, backlog, records, event_bytes = map(int, numbers[:4])
    broker = Broker({HUB: partitions}, retention_bytes=4 * 1024**3)
    _publish(broker, backlog, records, event_bytes, partitions)
    with ThreadedEmulator(broker) as emulator:
        print(emulator.connection_string, flush=True)
        sys.stdin.readline()
        if len(numbers) > 4:
            _stream(broker, numbers[4], numbers[5], records, event_bytes, partitions)
        sys.stdin.read()


def _publish(
    broker: Broker, count: int, records: int, event_bytes: int, partitions: int, seed: int = 0
) -> None:
    bodies = bench_bodies(
        count, records_per_body=records, event_bytes=event_bytes, partitions=partitions, seed=seed
    )
    for each in bodies:
        broker.publish(HUB, str(each.partition), [each.body])


def _stream(
    broker: Broker, rate: float, seconds: float, records: int, event_bytes: int, partitions: int
) -> None:
    """Publish at a steady rate: what is due at each tick of 10 ms."""
    start, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        due = int(elapsed * rate) - sent
        if due:
            _publish(broker, due, records, event_bytes, partitions, seed=sent + 1)
            sent += due
        time.sleep(0.01)
    print(sent, flush=True)


if __name__ == "__main__":
    main()
