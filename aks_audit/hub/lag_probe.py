"""What the hub has that we lack: asking it whether what the client believes is true."""

import asyncio
from datetime import datetime

from azure.eventhub.aio import EventHubConsumerClient

from ..errors import Retryable
from .watchdog import Watchdog

PROBE_S = 15.0
"""Between two questions to the hub. Each costs a connection, some 15 ms of CPU with TLS."""
PROBE_TIMEOUT_S = 20.0


class LagProbe:
    """What one client believes, and the question whether it is so."""

    def __init__(self, watchdog: Watchdog, suspects: set[str]) -> None:
        self._watchdog = watchdog
        self._suspects = suspects
        self.hub_created_at: datetime | None = None
        """When the hub was created that is read."""
        self.partitions: set[str] = set()
        """The partitions of the hub; empty until they are known."""
        self.received: dict[str, int] = {}
        """By partition that is read, the sequence number received last."""
        self._lacking: dict[str, int] = {}
        """By partition that lacked events at the last probe, the sequence number it was at."""
        self._turn: list[str] = []

    def forget(self, partition: str) -> None:
        """A partition is no longer read."""
        self.received.pop(partition, None)
        self._lacking.pop(partition, None)

    async def run(self, client: EventHubConsumerClient) -> None:
        """Ask the hub, every so often, whether all is as the client believes. Raises Retryable.

        Nothing else tells. `Reader` listens for ever to a peer that went silent, and tries for
        ever to connect to one that is gone. In both cases it calls back that there are no events.
        The SDK never sees a hub's new partitions. And links that just stop bringing events are a
        known problem (azure-sdk-for-python #42332, #30931).
        """
        while True:
            await asyncio.sleep(PROBE_S)
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    hub = await client.get_eventhub_properties()
                    await self._probe_partition(client)
            except TimeoutError as error:
                raise Retryable(f"Event Hubs gave no answer in {PROBE_TIMEOUT_S:g} s") from error
            if self.hub_created_at not in {None, hub["created_at"]}:
                raise Retryable("the hub was created anew")
            now_there = set(hub["partition_ids"])
            if self.partitions not in (set(), now_there):
                raise Retryable(f"the hub has {len(now_there)} partitions now")

    async def _probe_partition(self, client: EventHubConsumerClient) -> None:
        """Look whether one partition lacks events, in turn. Raises Retryable if it goes on to."""
        self._turn = self._turn or sorted(self.received)
        partition = next(iter(self._lacking), None) or (self._turn.pop() if self._turn else None)
        if partition is None:
            return
        # Before the question: what comes meanwhile may be newer than the answer.
        then = self.received.get(partition, -1)
        properties = await client.get_partition_properties(partition)
        received = self.received.get(partition)
        before = self._lacking.pop(partition, None)
        # A callback that waits for room is not the hub's fault; a partition may be gone by now.
        if received is None or partition in self._watchdog.blocked:
            return
        last: int = properties["last_enqueued_sequence_number"]
        if last < then:
            self._suspects.add(partition)
            raise Retryable(f"partition {partition} ends at {last}, and {then} was received")
        if received < last:
            if before == received:
                raise Retryable(f"partition {partition} has events and does not bring them")
            self._lacking[partition] = received
