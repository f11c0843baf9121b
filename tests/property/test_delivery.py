"""At least once, whatever comes twice: no checkpoint passes an event that may yet be lost.

The real intake, ledgers and window, over a few partitions, with copies of events all over them.
After any crash, every event that was published at or before the checkpoint of its partition has
been posted or kept.
"""

from dataclasses import dataclass, field

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aks_audit.checkpoints.ledger import Ledger
from aks_audit.config.routes import parse
from aks_audit.delivery.intake import Intake
from aks_audit.model import START_OF_STREAM, HubEvent, Item, Outcome, Position
from tests.helpers import (
    Setup,
    audit_event,
    envelope,
    events_config,
    examples,
    make_intake,
    record,
    waiting,
)

PARTITIONS = ("0", "1", "2")
ROUTES = parse("[[route]]\ncategory='kube-audit-admin'\nname='admin'\nurl='http://admin/'")
CATEGORIES = {"default": "kube-audit", "admin": "kube-audit-admin"}
Event = tuple[str, str]
"""An audit event's id, and the route that it takes."""


@dataclass
class Partition:
    """What is in the hub, how far it was read and what its checkpoint says."""

    hub: list[tuple[Event, ...]] = field(default_factory=list)
    position: Position = START_OF_STREAM

    def up_to_checkpoint(self) -> set[Event]:
        number = self.position.sequence_number
        return {event for events in self.hub[: number + 1] for event in events}


class Deliveries(RuleBasedStateMachine):
    """Publish, read, deliver, keep, checkpoint, lose partitions and crash, in any order."""

    intake: Intake
    setups: dict[str, Setup]
    ledgers: Ledger

    @initialize(window=st.sampled_from([0, 2, 8, 1000]))
    def begin(self, window: int) -> None:
        self.window = window
        self.partitions = {name: Partition() for name in PARTITIONS}
        self.settled: set[Event] = set()
        self.posted: list[tuple[int, Event]] = []
        self.run = -1
        self.crash()

    @rule()
    def crash(self) -> None:
        """Start anew with what the hub and the checkpoints hold."""
        self.run += 1
        self.ledgers = Ledger()
        config = events_config(dedup_window=self.window, routes=ROUTES)
        self.intake, self.setups = make_intake(config)
        for name, partition in self.partitions.items():
            self.ledgers.claim(name, partition.position)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        ids=st.lists(st.sampled_from("abcd"), min_size=1, max_size=4),
        route=st.sampled_from(["default", "default", "admin"]),
        at_once=st.booleans(),
    )
    def publish(self, partition: str, ids: list[str], route: str, *, at_once: bool) -> None:
        self.partitions[partition].hub.append(tuple((audit_id, route) for audit_id in ids))
        if at_once:
            self.read(partition, 10)

    @rule(partition=st.sampled_from(PARTITIONS), count=st.integers(1, 3))
    def read(self, partition: str, count: int) -> None:
        ledger = self.ledgers.get(partition)
        assert ledger is not None
        hub = self.partitions[partition].hub
        for number in range(ledger.seen + 1, min(len(hub), ledger.seen + 1 + count)):
            logs = [
                record(audit_event(audit_id).decode(), CATEGORIES[route])
                for audit_id, route in hub[number]
            ]
            event = HubEvent(partition, Position(number, str(number)), 0.0, envelope(*logs))
            trio.run(self.intake.forward, ledger, event)

    def waiting(self) -> list[tuple[str, Item]]:
        return [
            (name, item) for name, setup in self.setups.items() for item in waiting(setup.channel)
        ]

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), keep=st.booleans())
    def settle(self, data: st.DataObject, *, keep: bool) -> None:
        """Post an event, or keep it as a dead letter; the others go on waiting."""
        name, item = data.draw(st.sampled_from(self.waiting()))
        setup = self.setups[name]
        setup.channel._items.remove(item)
        self.settled.add((item.event.audit_id, name))
        self.posted.append((self.run, (item.event.audit_id, name)))
        if keep:
            setup.letters.put(item, "rejected", "")
        else:
            setup.in_flight.settle([item], Outcome.DELIVERED)

    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        for ledger in self.ledgers.dirty():
            if data.draw(st.booleans()):
                ledger.wrote(ledger.done)
                self.partitions[ledger.partition].position = ledger.done

    @rule(partition=st.sampled_from(PARTITIONS))
    def claim_again(self, partition: str) -> None:
        """As after a rebalancing: what is in flight of the old claim settles all the same."""
        ledger = self.ledgers.get(partition)
        assert ledger is not None
        self.ledgers.forget(partition, ledger)
        self.ledgers.claim(partition, self.partitions[partition].position)

    @invariant()
    def no_checkpoint_passes_what_may_yet_be_lost(self) -> None:
        for partition in self.partitions.values():
            assert partition.up_to_checkpoint() <= self.settled

    @invariant()
    def no_ledger_passes_it_either(self) -> None:
        for ledger in self.ledgers.partitions():
            done = ledger.done.sequence_number
            hub = self.partitions[ledger.partition].hub
            assert {event for events in hub[: done + 1] for event in events} <= self.settled

    @invariant()
    def nothing_is_posted_twice_within_the_window(self) -> None:
        if self.window == 1000:
            assert len(set(self.posted)) == len(self.posted)

    def teardown(self) -> None:
        """Whatever happened: deliver all, and nothing is left open."""
        if not hasattr(self, "partitions"):
            return
        for partition in PARTITIONS:
            self.read(partition, 10**6)
        for name, item in self.waiting():
            self.settled.add((item.event.audit_id, name))
            item.ticket.settle()
        for ledger in self.ledgers.partitions():
            assert ledger.done.sequence_number == len(self.partitions[ledger.partition].hub) - 1
        self.no_ledger_passes_it_either()


Deliveries.TestCase.settings = examples(60)
TestDeliveries = Deliveries.TestCase
