"""One run: publisher and forwarder between hub and Falco, until all has arrived."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from azure.eventhub.exceptions import EventHubError

from demo import forwarder
from demo.counts import Counts
from demo.errors import DemoError
from demo.forwarder import Forwarder
from demo.result import Result, compare
from demo.show import Moment, Show
from testkit.falco import ThreadedFalco
from testkit.falco.received import Received
from testkit.streams.expected import expected_letters, expected_skips
from testkit.streams.publish import Progress, publish
from testkit.streams.stream import Expected, Published, expected_of

HUB = "insights-logs-kube-audit"
LOG_NAME = "forwarder.log"
_LOOK_SECONDS = 0.2
_RATE_WINDOW_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is published, and how fast."""

    stream: Sequence[Published]
    seconds: float
    """Over which the stream is published."""
    deadline: float
    """Seconds after which a run ends, even if something has not arrived."""


class Rate:
    """Events per second over the last two seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, now: float, count: int) -> float:
        """Note the count at this time, and return the rate."""
        self._seen.append((now, count))
        while self._seen[0][0] < now - _RATE_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return (count - before) / (now - then) if now > then else 0.0


async def run(
    plan: Plan, connection_string: str, falco: ThreadedFalco, directory: Path, show: Show
) -> Result:
    """Run the whole path, and return the result. Raises DemoError.

    Hub and Falco run in their own threads and longer than the forwarder: an ordered shutdown
    still needs both.
    """
    total = expected_of(plan.stream)
    progress = Progress()
    settings = forwarder.environment(connection_string, HUB, falco.url, directory)
    async with (
        forwarder.start(settings, directory / LOG_NAME) as process,
        trio.open_nursery() as nursery,
    ):
        await process.ready()
        nursery.start_soon(_publish, plan, connection_string, progress)
        with trio.move_on_after(plan.deadline):
            await _watch(process, falco.received, progress, total, show)
        counts = await process.counts()
        status = await process.stop()
        nursery.cancel_scope.cancel()
    return compare(
        total,
        falco.receipts,
        counts,
        dropped=len(falco.dropped),
        exit_status=status,
        sent_at=progress.sent_at,
        first_seen=falco.received.first_seen,
    )


async def _publish(plan: Plan, connection_string: str, progress: Progress) -> None:
    try:
        await publish(connection_string, HUB, plan.stream, plan.seconds, progress)
    except EventHubError as error:
        raise DemoError(f"the stream cannot be published: {error}") from error


async def _watch(
    process: Forwarder, received: Received, progress: Progress, total: Expected, show: Show
) -> None:
    """Show the progress until everything published has been delivered, skipped or kept."""
    skips, letters = expected_skips(total).total(), expected_letters(total).total()
    rate = Rate()
    while True:
        counts = await process.counts()
        delivered = received.unique
        show(_moment(progress, counts, delivered, rate))
        arrived = delivered >= len(total.audit) and counts.skipped_total >= skips
        kept = sum(counts.dead_letters.values()) >= letters and counts.copies >= total.copies
        if arrived and kept and progress.finished:
            return
        await trio.sleep(_LOOK_SECONDS)


def _moment(progress: Progress, counts: Counts, delivered: int, rate: Rate) -> Moment:
    return Moment(
        published=progress.audit_events,
        delivered=delivered,
        skipped=counts.skipped_total,
        in_flight=counts.in_flight,
        rate=rate.update(trio.current_time(), delivered),
    )
