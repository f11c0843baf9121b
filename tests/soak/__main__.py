"""Breaks everything for some minutes; then nothing may be lost.

Two forwarder processes share the partitions; Event Hubs, Falco, the store and the processes break
at random, from a seed, under constant traffic with poison, malformed and oversized events. Hubs are
replaced and checkpoints deleted as well. Then all heals, and what was published is compared with
what was delivered or dead-lettered.
"""

import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from aks_audit.deadletters.letter import DeadLetter
from emulator import Broker, ThreadedEmulator
from testkit.falco import Key, Settings, ThreadedFalco
from testkit.rig import HUB, Rig
from tests.fault.balance import Balance
from tests.soak import trouble
from tests.soak.fleet import MIB, Fleet, Life
from tests.soak.stores import Breakable, open_store
from tests.soak.traffic import POISON, STAGE, Mix

PARTITIONS = 8
RATE_PER_S = 20
QUIET_S = 300.0
"""Seconds within which everything has to be delivered after all faults have ended: the partitions
of a killed process are free after a minute."""
SETTINGS = {
    "CHECKPOINTINTERVAL": "1000",
    "POSTTIMEOUT": "2000",
    "POSTMAXRETRIES": "2",
    "POSTRETRYINCREMENTALDELAY": "200",
    "SHUTDOWNGRACE": "3000",
    "INDOUBTTIME": "3000",
    "INFLIGHTMAXBYTES": "16MiB",
    "POSTBATCHMAXBYTES": "4MiB",
    "LOGLEVEL": "warn",
}
FALCO = Settings(queue_bodies=50, events_per_s=1655)
"""The queue of Falco's plugin, and how fast Falco took events out of it with the plugin's defaults:
with a restart, what was answered and is still queued is lost."""
RSS_MARGIN = 1.25, 24 * MIB
"""Memory does not grow: the last third of a process's life uses at most this much more than the
first, as a factor and in bytes, because what is held while Falco is away varies."""
RSS_MAX = 300 * MIB
DESCRIPTORS_MARGIN = 3 * PARTITIONS
"""Descriptors do not grow: a process may own all partitions, with one or two connections each."""


class Soak:
    """Everything that runs, and what was found."""

    def __init__(self, rig: Rig, fleet: Fleet, store: Breakable, seed: int) -> None:
        self.rig = rig
        self.fleet = fleet
        self.seed = seed
        self.mix = Mix(random.Random(f"{seed} traffic"), PARTITIONS)
        self.malformed: set[str] = set()
        self.made: Counter[str] = Counter()
        self.balance = Balance(rig, lambda _name, _value: None, **store.around)
        self._over = threading.Event()
        self._publishing = threading.Lock()
        self._began = time.monotonic()
        self._groups = {
            "falco": trouble.falco_faults(rig.falco),
            "hub": trouble.hub_faults(rig.emulator, self._drained),
            "process": trouble.process_faults(fleet),
            "store": store.faults(rig, random.Random(f"{seed} partitions")),
        }

    def run(self, minutes: float) -> None:
        """Break things for that many minutes, end all faults, wait until all is checkpointed."""
        self.rig.falco.faults.reject(POISON)
        done = threading.Event()
        with ThreadPoolExecutor() as pool:
            looking = pool.submit(self._look, done)
            working = [pool.submit(self._publish), *self._make_trouble(pool)]
            try:
                self._wait(minutes * 60, [looking, *working])
                self._over.set()
                for each in working:
                    each.result()
                self.tell("all faults have ended; waiting until all is checkpointed")
                self._settle()
            finally:
                self._over.set()
                done.set()
            looking.result()

    def _wait(self, seconds: float, working: list[Future[None]]) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not any(each.done() for each in working):
            self._over.wait(1)

    def _make_trouble(self, pool: ThreadPoolExecutor) -> Iterator[Future[None]]:
        for group, faults in self._groups.items():
            rng = random.Random(f"{self.seed} {group}")
            yield pool.submit(trouble.make_trouble, rng, faults, self._over, self.made, self.tell)

    def _publish(self) -> None:
        for each in self.mix:
            if self._over.wait(1 / RATE_PER_S):
                return
            with self._publishing:
                if each.malformed:
                    self.malformed.add(each.malformed)
                self.rig.publish([each])

    @contextmanager
    def _drained(self) -> Iterator[None]:
        """Publish nothing during a with block, which begins when all is delivered."""
        with self._publishing:
            while any(self._missing(self.balance.letters())):
                if self._over.wait(1):
                    raise trouble.NotNowError
            self.tell("all is delivered")
            yield

    def _missing(self, letters: list[DeadLetter]) -> tuple[set[Key], set[str]]:
        """Return the events and malformed bodies that are neither delivered nor dead letters."""
        kept = {(each.audit_id, STAGE) for each in letters if each.audit_id}
        raw = b"\n".join(each.body for each in letters if not each.audit_id)
        found = {match.decode() for match in re.findall(rb"malformed-\d+", raw)}
        return self.rig.account.lost - kept, self.malformed - found

    def _look(self, done: threading.Event) -> None:
        looks = 0
        while not done.wait(1):
            self.fleet.look(self.second)
            looks += 1
            if looks % 30 == 0:
                self.tell(f"{len(self.rig.account.published)} published; {self.sizes()}")

    def sizes(self) -> str:
        """Return what the running processes use."""
        last = [life.samples[-1] for life in self.fleet.lives if life.forwarder.running]
        return ", ".join(
            f"{each.rss // MIB} MiB and {each.descriptors} descriptors" for each in last
        )

    def _settle(self) -> None:
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            if self.rig.checkpoints() == self.rig.last_sequence_numbers():
                return
            time.sleep(1)
        self.tell(f"not all is checkpointed after {QUIET_S:g} s")

    @property
    def second(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def tell(self, text: str) -> None:
        """Print a line with the time."""
        print(f"{self.second:7.1f}  {text}", flush=True)  # noqa: T201

    def report(self) -> int:
        """Print the account of everything; returns how much of it was lost."""
        account, letters = self.rig.account, self.balance.letters()
        lost, vanished = self._missing(letters)
        dead = len(account.lost - lost)
        delivered = len(account.published) - len(account.lost)
        rows: dict[str, object] = {
            "hub events published": len(self.rig.published),
            "audit events published": len(account.published),
            "  delivered": delivered,
            "  dead-lettered": dead,
            "malformed bodies published": len(self.malformed),
            "  dead-lettered ": len(self.malformed) - len(vanished),
            "hub events without an event, skipped": self.mix.skipped,
            "delivered more than once": account.duplicates,
            "dead-lettered and delivered, or twice": len(letters) - len(self.malformed) - dead,
            "processes started": self.fleet.starts,
            "  ended by themselves": len(self.fleet.ended_by_themselves),
            "faults": sum(self.made.values()),
        }
        for name, value in rows.items():
            print(f"{name:40} {value}")  # noqa: T201
        for name, count in sorted(self.made.items()):
            print(f"  {name:38} {count}")  # noqa: T201
        for why in self.fleet.ended_by_themselves:
            print(f"ended by itself: {why}")  # noqa: T201
        for each in sorted(lost)[:20]:
            print(f"lost: {each}")  # noqa: T201
        return len(lost) + len(vanished)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong besides lost events."""
        account = self.rig.account
        if account.unexpected:
            yield f"{len(account.unexpected)} events arrived that were never published"
        if self.rig.falco.dropped:
            yield f"Falco dropped {len(self.rig.falco.dropped)} bodies"
        if self.rig.checkpoints() != self.rig.last_sequence_numbers():
            yield "not all is checkpointed"
        for life in self.fleet.lives:
            yield from growth(life)


def growth(life: Life) -> Iterator[str]:
    """Print the growth of a process, and yield what grew too much."""
    medians = life.medians()
    if medians is None:
        return
    (early_rss, early_fds), (late_rss, late_fds) = medians
    peak = max(each.rss for each in life.samples)
    seconds = life.samples[-1].second - life.samples[0].second
    print(  # noqa: T201
        f"process {life.forwarder.pid}, {seconds:.0f} s: RSS {early_rss / MIB:.0f} -> "
        f"{late_rss / MIB:.0f} MiB, peak {peak / MIB:.0f}; descriptors {early_fds:.0f} -> "
        f"{late_fds:.0f}"
    )
    factor, margin = RSS_MARGIN
    if late_rss > early_rss * factor + margin or peak > RSS_MAX:
        yield f"the memory of process {life.forwarder.pid} grew"
    if late_fds > early_fds + DESCRIPTORS_MARGIN:
        yield f"the descriptors of process {life.forwarder.pid} grew"


@click.command()
@click.option("--minutes", default=5.0, show_default=True, help="How long things go wrong.")
@click.option("--seed", type=int, help="Of the random mix; one is chosen and printed otherwise.")
@click.option("--store", type=click.Choice(["blob", "sqlite"]), help="blob where Azurite is.")
def main(minutes: float, seed: int | None, store: str | None) -> None:
    """Break everything for some minutes; exit 0 only where nothing was lost."""
    seed = random.randrange(1_000_000) if seed is None else seed
    print(f"SEED={seed} MINUTES={minutes:g}", flush=True)  # noqa: T201
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        breakable = stack.enter_context(open_store(directory, store))
        emulator = stack.enter_context(ThreadedEmulator(Broker({HUB: PARTITIONS})))
        falco = stack.enter_context(ThreadedFalco(settings=FALCO))
        rig = Rig(emulator, falco, breakable.store)
        fleet = stack.enter_context(Fleet(rig.environment(SETTINGS)))
        soak = Soak(rig, fleet, breakable, seed)
        soak.run(minutes)
        lost, problems = soak.report(), list(soak.problems())
    for problem in problems:
        print(f"PROBLEM: {problem}")  # noqa: T201
    print(f"lost {lost}")  # noqa: T201
    sys.exit(1 if lost or problems else 0)


if __name__ == "__main__":
    main()
