"""Credit with the real SDK over AMQP: it goes where the traffic is, and nothing gets lost."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from aks_audit.hub.credit import CreditPool
from aks_audit.hub.reader import Reader
from aks_audit.hub.sdk.conversion import body_of
from aks_audit.hub.sdk.link import PartitionLink
from aks_audit.hub.sdk.patches import read_with
from emulator import ThreadedEmulator
from testkit.rig import Rig, Store, open_rig
from testkit.streams.bodies import audit_bodies

PARTITIONS = 8
EACH = 300
DEADLINE_S = 60.0


class Received:
    """What came of each partition, and the most credit that each one had."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = defaultdict(list)
        self.last: dict[str, int] = defaultdict(lambda: -1)
        self.most: dict[str, int] = defaultdict(int)
        self.beats: dict[str, int] = defaultdict(int)
        """Callbacks without events."""
        self.readers: dict[str, Reader] = {}
        self._called_back = asyncio.Event()

    async def on_batch(self, context: PartitionContext, events: list[EventData]) -> None:
        """Take a batch, as the SDK's callback."""
        partition = context.partition_id
        self.beats[partition] += not events
        for event in events:
            # A link that is opened again begins with the event that came last.
            if (event.sequence_number or 0) > self.last[partition]:
                self.last[partition] = event.sequence_number or 0
                self.bodies[partition].append(body_of(event))
        for each, reader in self.readers.items():
            self.most[each] = max(self.most[each], reader._share.credit)
        self._called_back.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after each callback."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._called_back.clear()
                await self._called_back.wait()


@asynccontextmanager
async def receiving(connection_string: str, pool: CreditPool) -> AsyncIterator[Received]:
    received = Received()

    async def read(link: PartitionLink) -> None:
        reader = Reader(link, pool, 64 * 1024, lambda *_: None)
        received.readers[link.partition] = reader
        await reader.run()

    client = EventHubConsumerClient.from_connection_string(
        connection_string, "$Default", eventhub_name="audit"
    )
    read_with(client, read)
    async with client:
        task = asyncio.create_task(client.receive_batch(received.on_batch, starting_position="-1"))
        await received.wait(lambda: len(received.beats) == PARTITIONS)
        yield received
        await client.close()
        task.cancel()
        await asyncio.wait({task})


def bodies(partition: str) -> list[bytes]:
    return [b"%s-%d-" % (partition.encode(), number) + b"x" * 2000 for number in range(EACH)]


async def follow_the_traffic(emulator: ThreadedEmulator) -> CreditPool:
    pool = CreditPool(4 * 1024 * 1024)
    async with receiving(emulator.connection_string, pool) as received:
        for hot in ("3", "6", "3"):
            received.most.clear()
            received.bodies.clear()
            sent = bodies(hot)
            emulator.broker.publish("audit", hot, sent)
            await received.wait(lambda hot=hot: len(received.bodies[hot]) >= EACH)  # type: ignore[misc]
            assert received.bodies == {hot: sent} | {
                partition: [] for partition in received.bodies if partition != hot
            }
            assert received.most.pop(hot) >= 8
            assert max(received.most.values()) <= 1
            assert pool.busy <= 1
            share = received.readers[hot]._share
            await received.wait(lambda share=share: share.credit == 1)  # type: ignore[misc]
    return pool


def test_credit_follows_the_traffic_and_comes_back() -> None:
    with ThreadedEmulator({"audit": PARTITIONS}) as emulator:
        pool = asyncio.run(follow_the_traffic(emulator))
    assert (pool.members, pool.reserved_bytes) == (0, 0)


async def break_while_hot(emulator: ThreadedEmulator, fault: Callable[[], int]) -> Received:
    async with receiving(emulator.connection_string, CreditPool(1024 * 1024)) as received:
        sent = bodies("1")
        for number in range(3):
            emulator.broker.publish("audit", "1", sent)
            goal = number * EACH + EACH // 3
            await received.wait(lambda goal=goal: len(received.bodies["1"]) >= goal)  # type: ignore[misc]
            await asyncio.to_thread(fault)
            goal = (number + 1) * EACH
            await received.wait(lambda goal=goal: len(received.bodies["1"]) >= goal)  # type: ignore[misc]
        assert received.bodies["1"] == sent * 3
    return received


def test_a_link_that_is_cut_gets_its_credit_anew() -> None:
    with ThreadedEmulator({"audit": PARTITIONS}) as emulator:
        asyncio.run(break_while_hot(emulator, emulator.faults.cut))


def test_a_link_that_is_detached_gets_its_credit_anew() -> None:
    with ThreadedEmulator({"audit": PARTITIONS}) as emulator:
        asyncio.run(break_while_hot(emulator, emulator.faults.detach))


def test_traffic_that_moves_between_partitions_is_all_delivered_in_order(sqlite: Store) -> None:
    with open_rig(sqlite, partitions=32) as rig, rig.forwarder() as forwarder:
        forwarder.wait_for_log("partition claimed", count=32)
        for number, hot in enumerate((5, 31, 0, 5)):
            publish_to(rig, f"round-{number}", hot)
            rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        rig.account.check()


def publish_to(rig: Rig, name: str, partition: int) -> None:
    """Put all of a traffic into one partition."""
    some = audit_bodies(name, 150, records=4)
    rig.publish(type(each)(each.body, partition, each.audit) for each in some)
