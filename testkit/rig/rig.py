"""Emulator, Falco's stand-in and a checkpoint store, wired for any number of forwarders."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from emulator import Broker, ThreadedEmulator
from testkit.falco import ThreadedFalco
from testkit.rig.accounting import Accounting
from testkit.rig.forwarder import Forwarder
from testkit.rig.stores import Store
from testkit.rig.wait import eventually
from testkit.streams.publish import open_producer, send
from testkit.streams.stream import Published

HUB = "insights-logs-kube-audit"
"""The default of EVENTHUBNAME."""
GROUP = "$Default"

_SETTINGS = {
    "STATSADDRESS": "127.0.0.1:0",
    "STARTPOSITION": "earliest",  # so that publishing need not wait for the first claim
    "CHECKPOINTINTERVAL": "100",
    "POSTRETRYINCREMENTALDELAY": "20",
    "INDOUBTTIME": "300",
    "LOGFORMAT": "json",
}
"""Where the tests differ from the defaults; a test may give each of them another value."""


class Rig:
    """Everything but the forwarders."""

    def __init__(self, emulator: ThreadedEmulator, falco: ThreadedFalco, store: Store) -> None:
        self.emulator = emulator
        self.falco = falco
        self.store = store
        self.account = Accounting(falco)
        self.published: list[Published] = []
        """All hub events, in the order of each partition."""

    @property
    def namespace(self) -> str:
        """As the stores know it."""
        return f"localhost:{self.emulator.port}"

    @property
    def partitions(self) -> int:
        """How many partitions the hub has."""
        return len(self.emulator.broker.hub(HUB).partitions)

    def environment(self, settings: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the whole environment of a forwarder; a setting of None is left out."""
        known: dict[str, str | None] = {
            **_SETTINGS,
            "EHUBNAMESPACECONNECTIONSTRING": self.emulator.connection_string,
            "WEBSINKURL": self.falco.url,
            **self.store.environment,
            **(settings or {}),
        }
        return {name: value for name, value in known.items() if value is not None}

    def forwarder(self, **settings: str | None) -> Forwarder:
        """Return a forwarder on this rig, to be started by a with statement."""
        return Forwarder(self.environment(settings))

    def _note(self, hub_events: Iterable[Published]) -> list[Published]:
        taken = list(hub_events)
        self.published += taken
        self.account.note(taken)
        return taken

    def publish(self, hub_events: Iterable[Published]) -> list[Published]:
        """Put hub events into the hub, and expect their audit events."""
        taken = self._note(hub_events)
        for each in taken:
            self.emulator.broker.publish(HUB, str(each.partition), [each.body])
        return taken

    def send(self, hub_events: Iterable[Published]) -> list[Published]:
        """Do as `publish`, but over AMQP, as Azure's producers do."""
        taken = self._note(hub_events)
        with open_producer(self.emulator.connection_string, HUB) as producer:
            send(producer, taken)
        return taken

    def checkpoints(self) -> dict[str, int]:
        """Return the sequence number that the store holds for each partition."""
        return self.store.checkpoints(self.namespace, HUB, GROUP)

    def owners(self) -> dict[str, str]:
        """Return who owns each partition; "" if it was released."""
        return self.store.owners(self.namespace, HUB, GROUP)

    def release_owners(self) -> None:
        """Release the partitions of a killed forwarder, which would stay its own for a minute."""
        self.store.release_owners(self.namespace, HUB, GROUP)

    def behind_checkpoints(self) -> int:
        """Count the audit events in hub events that no checkpoint covers, of those in the hub.

        They are the newest ones of each partition: a hub that was replaced numbers anew.
        """
        checkpoints = self.checkpoints()
        uncovered = {
            partition: last - checkpoints.get(partition, -1)
            for partition, last in self.last_sequence_numbers().items()
        }
        behind = 0
        for each in reversed(self.published):
            if uncovered[str(each.partition)] > 0:
                uncovered[str(each.partition)] -= 1
                behind += len(each.audit)
        return behind

    def last_sequence_numbers(self) -> dict[str, int]:
        """Return the sequence number of the newest hub event of each partition."""
        broker = self.emulator.broker
        with broker.lock:
            return {each.id: each.last_sequence_number for each in broker.hub(HUB).partitions}

    def wait_for_checkpoints(self) -> None:
        """Wait until all that was published is checkpointed."""
        expected = self.last_sequence_numbers()
        eventually(lambda: self.checkpoints() == expected, f"checkpoints at {expected}")

    def wait_for_first_claims(self) -> None:
        """Wait until each partition has a checkpoint at any position."""
        eventually(lambda: len(self.checkpoints()) == self.partitions, "the first checkpoints")


@contextmanager
def open_rig(store: Store, *, partitions: int = 4, broker: Broker | None = None) -> Iterator[Rig]:
    """Run an emulator with one hub, or the broker's, and a stand-in for Falco, on free ports."""
    hubs = broker or Broker({HUB: partitions})
    with ThreadedEmulator(hubs) as emulator, ThreadedFalco() as falco:
        yield Rig(emulator, falco, store)
