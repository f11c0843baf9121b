"""What stays owned when the SDK closes in the middle of a round of load balancing."""

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio
from anyio.from_thread import BlockingPortal

from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.errors import Retryable
from aks_audit.hub.balancing import BALANCE_LAPSE_S, BALANCE_S
from aks_audit.hub.ownership import SdkStore, StoreBackoff
from aks_audit.hub.watchdog import Watchdog

HUB = ("namespace", "hub", "group")


class SlowStore(SqliteStore):
    """Makes the next round of claims wait, once it is in the middle, until it is let go."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.slow = False
        self.reached, self.go_on = threading.Event(), threading.Event()

    def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **_: Any
    ) -> Iterable[dict[str, Any]]:
        claimed = super().claim_ownership(ownership_list)
        if self.slow:
            self.slow = False
            self.reached.set()
            assert self.go_on.wait(30)
        return claimed


def ownership(partition: str, **more: Any) -> dict[str, Any]:
    names = zip(("fully_qualified_namespace", "eventhub_name", "consumer_group"), HUB, strict=True)
    return {**dict(names), "partition_id": partition, "owner_id": "us", **more}


async def close_within_a_round(sdk_store: SdkStore, store: SlowStore) -> None:
    first = list(await sdk_store.claim_ownership([ownership("0"), ownership("1")]))
    store.slow = True
    renewing = asyncio.create_task(sdk_store.claim_ownership(first))
    await asyncio.to_thread(store.reached.wait, 30)
    # As the SDK does it: under the ETag of the round before.
    released = await sdk_store.claim_ownership([{**first[0], "owner_id": ""}])
    assert not list(released)
    renewing.cancel()
    releasing = asyncio.create_task(sdk_store.release())
    store.go_on.set()
    await releasing


async def nothing(_: object, __: object) -> None:
    return


async def test_all_is_released_although_a_round_was_under_way(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "checkpoints")
    other = ownership("2", owner_id="somebody else")
    store.claim_ownership([other])
    async with BlockingPortal() as portal:
        sdk_store = SdkStore(store, portal, nothing, Watchdog(), trio.CapacityLimiter(4))
        await trio.to_thread.run_sync(asyncio.run, close_within_a_round(sdk_store, store))
    owners = {each["partition_id"]: each["owner_id"] for each in store.list_ownership(*HUB)}
    assert owners == {"0": "", "1": "", "2": "somebody else"}


async def test_a_client_that_never_claimed_releases_nothing(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "checkpoints")
    async with BlockingPortal() as portal:
        sdk_store = SdkStore(store, portal, nothing, Watchdog(), trio.CapacityLimiter(4))
        await trio.to_thread.run_sync(asyncio.run, sdk_store.release())
    assert not (tmp_path / "checkpoints").exists()


class Sick(SqliteStore):
    """Fails to list the ownership while it is told to."""

    sick = False

    def list_ownership(self, *hub: str, **_: Any) -> Iterable[dict[str, Any]]:
        if self.sick:
            raise OSError("no route to host")
        return super().list_ownership(*hub)


async def test_a_replica_that_claims_nothing_forgets_an_outage_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each outage is a new one: the backoff of one does not add to that of the next."""
    now = 0.0
    store = Sick(tmp_path / "checkpoints")

    async def rounds(sdk_store: SdkStore) -> None:
        nonlocal now
        sdk_store._backoff = StoreBackoff(lambda: now)
        for _ in range(3):
            store.sick = True
            for _ in range(3):
                with pytest.raises(Retryable):
                    await sdk_store.list_ownership(*HUB)
                now += BALANCE_LAPSE_S / 4
            store.sick = False
            for _ in range(2):
                await sdk_store.list_ownership(*HUB)
                now += BALANCE_S

    async with BlockingPortal() as portal:
        sdk_store = SdkStore(store, portal, nothing, Watchdog(), trio.CapacityLimiter(4))
        await trio.to_thread.run_sync(asyncio.run, rounds(sdk_store))
    assert sdk_store._backoff._failing_since is None
