"""What the endpoint has answered with 2xx, and may lose all the same.

Falco's webhook answers when a body is in its queue. The queue holds 50 bodies, one worker takes
them out, and when Falco ends the queue ends with it: 21,863 of 100,000 events were lost when Falco
was restarted in a backlog (measured with plugin k8saudit 0.18). So a body that was answered stays
*in doubt*, which is in flight, until Falco must have taken it out of its queue:

- so many later bodies were accepted that the queue cannot hold it any more, or
- a quiet time has passed that is long enough for the queue to be emptied.

When the endpoint breaks, what is in doubt is posted again, in order, before anything new. What
follows from this is at least once: Falco may have processed some of it.

**An endpoint that breaks again and again** must not get the same bodies for ever: one of the events
may be what breaks it. When it breaks a second time and nothing came out of doubt in between, the
bodies go *one by one*: each waits for the end of the doubt of the one before it. The first one is
small; each that comes through lets the next one be twice as large, and each that does not makes
the next one a quarter. An event that was alone in doubt when the endpoint broke waits until another
body has come through, or until nothing else is there to post. Only where the endpoint takes others,
and breaks with this one again and again, does it become a dead letter: an endpoint that breaks with
everything is sick itself.

No I/O here: `Sender` posts, and `end_doubt` lets time pass.
"""

import itertools
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence

import trio

from ..config.settings import SinkConfig
from ..model import Item, Outcome
from ..ops.logs import get_logger
from ..ops.metrics import DoubtMetrics
from .inflight import InFlight

log = get_logger("sink")

EVENTS_PER_S = 1500
"""The slowest endpoint that the quiet time is long enough for: Falco with the plugin's defaults
took 1,655 events/s on two cores. The quiet time is longer by what is in doubt at this speed."""
ALONE_FIRST = 64
"""Events in the first body that goes alone."""
ALONE_LAST = 512
"""A body that goes alone and comes through with so many events ends the mode."""
CRASHES = 4
"""How often the endpoint breaks with one and the same event alone in doubt, having taken others in
between, before the event becomes a dead letter: fewer may be an accident."""

Mark = tuple[int, int]
"""Breaks and acceptances so far, when a POST began."""


class Body:
    """Audit events that are posted together."""

    __slots__ = ("crashed_at", "crashes", "due", "items", "order")

    def __init__(self, items: Sequence[Item], order: tuple[int, int]) -> None:
        self.items = items
        self.order = order
        """In which order bodies were taken from the queue, and where in such a body it begins."""
        self.crashes = 0
        """How often the endpoint broke with this event alone in doubt, and took others since."""
        self.crashed_at = -1
        """How many bodies had come out of doubt when it did so last."""
        self.due = 0.0
        """When its doubt ends, on trio's clock, if nothing happens meanwhile."""

    def __lt__(self, other: "Body") -> bool:
        return self.order < other.order

    def split(self, count: int) -> tuple["Body", "Body"]:
        """The first so many events, and the others."""
        number, begin = self.order
        rest = Body(self.items[count:], (number, begin + count))
        return Body(self.items[:count], self.order), rest


class Doubt:
    """The bodies of a destination that are in doubt, and those that have to be posted again.

    Args:
        config: How many later bodies and how quiet a time end the doubt.
        in_flight: Where events are settled as delivered.
        metrics: Counts what is posted again.
        wake: Called when there is something to post again.
        more: Whether there is something that was not posted before.
    """

    def __init__(
        self,
        config: SinkConfig,
        in_flight: InFlight,
        metrics: DoubtMetrics,
        wake: Callable[[], None],
        more: Callable[[], bool],
    ) -> None:
        self._window = window(config)
        self._quiet_s = config.indoubt_s
        self._in_flight = in_flight
        self._metrics = metrics
        self._wake = wake
        self._more = more
        self._accepted: deque[Body] = deque()
        self._again: list[Body] = []
        """What has to be posted again, in order."""
        self._numbers = itertools.count()
        self._breaks = self._acceptances = self._released = 0
        self._alone: int | None = None
        """Events that the next body may have, while bodies go one by one."""
        self._held: int | None = None
        """The number of the body that a sender has, while bodies go one by one."""
        self._stuck = False
        """Whether the endpoint broke and nothing has come out of doubt since."""
        self._changed = trio.lowlevel.ParkingLot()
        self.events = 0
        """Events in doubt."""

    # What senders take

    @property
    def waiting(self) -> bool:
        """Whether something has to be posted again before what is new."""
        return self._first() is not None

    @property
    def blocked(self) -> bool:
        """Whether nothing may be posted before the doubt of a body that goes alone has ended."""
        return self._alone is not None and (self._held is not None or bool(self._accepted))

    async def unblocked(self) -> None:
        """Wait until something may be posted."""
        while self.blocked:
            await self._changed.park()

    def fresh(self, items: Sequence[Item]) -> Body:
        """A body of events that were not posted before."""
        return Body(items, (next(self._numbers), 0))

    def take(self) -> Body | None:
        """The next body that has to be posted again, if one may be posted now."""
        body = None if self.blocked else self._first()
        if body is None:
            return None
        self._again.remove(body)
        if self._alone is not None:
            self._held = body.order[0]
            if len(body.items) > self._alone:
                body, rest = body.split(self._alone)
                insort(self._again, rest)
        return body

    def _first(self) -> Body | None:
        """The body that goes next: while they go one by one, a suspected one goes last."""
        again = self._again
        if not again or self._alone is None:
            return next(iter(again), None)
        suspect = None if self._more() else again[0]
        return next((each for each in again if each.crashed_at != self._released), suspect)

    def give_back(self, body: Body) -> None:
        """Have a body posted later, in its place."""
        insort(self._again, body)
        self._wake()

    def put_down(self, body: Body) -> None:
        """Note that a sender has finished with a body that it took."""
        if self._held == body.order[0]:
            self._held = None
            self._changed.unpark_all()

    def overtakes(self, body: Body) -> bool:
        """Whether another body has to be posted before this one."""
        if self._alone is not None:
            return self._held != body.order[0]
        return bool(self._again) and self._again[0] < body

    # What the endpoint did

    def mark(self) -> Mark:
        """What has to be known of the moment at which a POST begins."""
        return self._breaks, self._acceptances

    def accept(self, body: Body, mark: Mark) -> None:
        """Note that the endpoint took a body, in a POST that began at this mark."""
        self._in_flight.accepted(body.items)
        if not self._window:
            self._in_flight.settle(body.items, Outcome.DELIVERED)
            return
        self._acceptances += 1
        if mark[0] != self._breaks:  # it may have been taken by what broke since
            self._post_again([body])
            return
        self.events += len(body.items)
        body.due = trio.current_time() + self._quiet_s + self.events / EVENTS_PER_S
        self._accepted.append(body)
        if len(self._accepted) > self._window:
            self._release()

    def broke(self, mark: Mark, reason: str) -> Sequence[Item]:
        """Note that a POST, or an idle connection, showed that the endpoint broke.

        Args:
            mark: When that POST began, or the last one over that connection. A break that was
                noted since then is the same one.
            reason: For the log.

        Returns:
            The event that breaks the endpoint, if it is known by now: it is not posted again.
        """
        if mark[0] != self._breaks:
            return ()
        self._breaks += 1
        bodies = list(self._accepted)
        if not bodies:
            return ()
        log.warning(
            "the endpoint broke: what it may have lost is posted again",
            reason=reason,
            events=self.events,
            bodies=len(bodies),
        )
        self._accepted.clear()
        self.events = 0
        culprit = self._narrow(bodies)
        self._post_again(bodies)
        return culprit

    def silent(self, mark: Mark, reason: str) -> Sequence[Item]:
        """Note that a POST had no answer in time: a break, unless another one was answered.

        A node that is lost does not close its connections. A Falco that is only slow answers
        others meanwhile; to post what is in doubt again would make it slower.
        """
        return self.broke(mark, reason) if mark[1] == self._acceptances else ()

    def _narrow(self, bodies: list[Body]) -> Sequence[Item]:
        """Go on one by one if this leads nowhere; takes the culprit out of the bodies."""
        if self._alone is not None:
            self._alone = max(1, min(self._alone, sum(len(each.items) for each in bodies)) // 4)
        elif self._stuck:
            self._alone = ALONE_FIRST
            log.warning("the endpoint broke again: bodies go one by one, to find out which event")
        self._stuck = True
        if self._alone is None or len(bodies) > 1 or len(bodies[0].items) > 1:
            return ()
        suspect = bodies[0]
        if suspect.crashed_at != self._released:
            suspect.crashes += 1
            suspect.crashed_at = self._released
        return bodies.pop().items if suspect.crashes >= CRASHES else ()

    def _post_again(self, bodies: Sequence[Body]) -> None:
        for body in bodies:
            insort(self._again, body)
            self._metrics.posted_again.inc(len(body.items))
        self._changed.unpark_all()
        self._wake()

    # What time does

    def release_due(self) -> float:
        """End the doubt that is old enough; returns when to look again, on trio's clock."""
        now = trio.current_time()
        while self._accepted and self._accepted[0].due <= now:
            self._release()
        return self._accepted[0].due if self._accepted else now + self._quiet_s

    def _release(self) -> None:
        body = self._accepted.popleft()
        self.events -= len(body.items)
        self._released += 1
        self._stuck = False
        if self._alone is not None:
            self._alone = 2 * max(self._alone, len(body.items))
            if self._alone > ALONE_LAST:
                self._alone = None
                self._wake()
            self._changed.unpark_all()
        self._in_flight.settle(body.items, Outcome.DELIVERED)


def window(config: SinkConfig) -> int:
    """How many later bodies end the doubt of one; 0 where nothing is ever in doubt.

    That is what the endpoint queues, and two more for each sender, less one:

    - POSTs overlap: a body that is answered later may have been queued earlier, one for each of
      the other senders.
    - Falco answers the POSTs that wait for room in its queue when it ends, and drops them: one for
      each sender. They must not count as later ones.
    """
    if not config.indoubt_bodies or not config.indoubt_s:
        return 0
    return config.indoubt_bodies + 2 * config.concurrency - 1
