"""What becomes of a hub event, before anything is done about it. Pure.

Unpack, name the cluster, filter, limit, route: all that can be said of a hub event from
its bytes and the settings alone. The intake then commits it to the ledger and the
channels in one step.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress

import msgspec

from ..audit.annotate import name_cluster
from ..audit.steps import Steps, each_in_steps
from ..audit.unpack import unpack_in_steps
from ..config.routes import DEFAULT
from ..config.settings import EventsConfig
from ..model import FAULTS, AuditEvent, HubEvent, Skip, Skipped
from .router import Router


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """A hub event, taken apart."""

    by_route: Mapping[str, Sequence[AuditEvent]]
    """The audit events to deliver, by name of their route, in order."""
    filtered: Sequence[AuditEvent]
    """The audit events that FILTERS drops."""
    faults: Sequence[Skipped]
    """What may hide an audit event, and becomes a dead letter."""
    ignored: Sequence[Skipped]
    """What is not an audit event, and is only counted."""

    @property
    def records(self) -> int:
        """How many outcomes the hub event waits for."""
        return sum(map(len, self.by_route.values())) + len(self.faults)

    @property
    def needed(self) -> Collection[str]:
        """The routes that have to have room: dead letters of hub events go by the default one."""
        return {DEFAULT, *self.by_route} if self.faults else self.by_route.keys()


class Preparation:
    """Prepares hub events, as the settings say.

    Args:
        config: What is done to audit events.
        max_event_bytes: Bytes of one audit event; Falco drops larger ones without a word.
    """

    def __init__(self, config: EventsConfig, max_event_bytes: int) -> None:
        self._config = config
        self._router = Router(config.routes)
        self._max_event_bytes = max_event_bytes

    def prepare(self, event: HubEvent) -> Steps[Prepared]:
        """Take a hub event apart, in steps. Never raises: what cannot be read is a fault."""
        config, limit = self._config, self._max_event_bytes
        received = datetime.fromtimestamp(event.enqueued_at, UTC).isoformat()
        events, skipped = yield from unpack_in_steps(
            event.body, received=received, salvage_cut=config.salvage
        )
        if config.annotate_cluster:
            events = yield from each_in_steps(lambda each: name_cluster(each, limit), events)
        # Mending makes an event three times as long at most (U+FFFD for each byte), and salvage
        # adds two times and a mark: of most bodies no event need be measured.
        if 4 * len(event.body) > limit and any(len(each.raw) > limit for each in events):
            skipped += [_too_large(each, limit) for each in events if len(each.raw) > limit]
            events = [each for each in events if len(each.raw) <= limit]
        filtered: list[AuditEvent] = []
        if config.filters is not None:
            dropped = yield from each_in_steps(config.filters.drops, events)
            filtered = list(compress(events, dropped))
            events = [each for each, drop in zip(events, dropped, strict=True) if not drop]
        return Prepared(
            by_route=self._router.sort(events),
            filtered=filtered,
            faults=[skip for skip in skipped if skip.reason in FAULTS],
            ignored=[skip for skip in skipped if skip.reason not in FAULTS],
        )


def _too_large(event: AuditEvent, limit: int) -> Skipped:
    detail = f"{len(event.raw)} bytes; Falco drops events over {limit}"
    return Skipped(Skip.TOO_LARGE, event.category, 0, detail, event.raw, event.audit_id)
