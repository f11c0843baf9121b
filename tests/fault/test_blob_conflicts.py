"""Two writers on one blob: Blob Storage answers 409 and 412, and nobody is misled by it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.core.exceptions import AzureError

from aks_audit.checkpoints.blob import BlobStore
from aks_audit.checkpoints.store import Fenced, Key
from aks_audit.config.load import load
from aks_audit.config.settings import BlobLocation, HubConfig, Secret
from aks_audit.deadletters.store import BlobStore as DeadLetters
from aks_audit.model import Position
from aks_audit.storage import open_container
from testkit.rig import Store
from tests.helpers import ENVIRONMENT

KEY: Key = ("x", "hub", "$Default", "0")
ROUNDS = 20


def position(number: int) -> Position:
    return Position(number, str(number * 100))


def location(blob: Store) -> BlobLocation:
    secret = Secret(blob.environment["BLOBSTORAGECONNECTIONSTRING"])
    return BlobLocation(secret, blob.environment["BLOBCONTAINERNAME"])


def writer(blob: Store) -> BlobStore:
    """A process's store."""
    return BlobStore(open_container(location(blob)))


def test_the_first_checkpoint_is_written_once(blob: Store) -> None:
    """The second creation is answered with 409."""
    one, other = writer(blob), writer(blob)
    one.create(KEY, position(5))
    other.create(KEY, position(7))
    assert other.fence(KEY, "other") == position(5)


def test_a_loser_never_moves_the_checkpoint(blob: Store) -> None:
    """His write is answered with 412."""
    one, other = writer(blob), writer(blob)
    one.create(KEY, position(-1))
    one.fence(KEY, "one")
    one.advance(KEY, "one", position(3))
    assert other.fence(KEY, "other") == position(3)
    with pytest.raises(Fenced):
        one.advance(KEY, "one", position(9))
    other.advance(KEY, "other", position(4))
    with pytest.raises(Fenced):
        one.advance(KEY, "one", position(10))
    assert blob.checkpoints(*KEY[:3]) == {"0": 4}


def test_writers_that_claim_at_once_agree_on_one(blob: Store) -> None:
    writers = {f"writer-{number}": writer(blob) for number in range(4)}
    writers["writer-0"].create(KEY, position(0))
    ready = threading.Barrier(len(writers))

    def fight(name: str) -> int:
        """Returns how far this writer's own writes have moved the checkpoint."""
        highest, store = -1, writers[name]
        ready.wait()
        for _ in range(ROUNDS):
            start = store.fence(KEY, name).sequence_number
            assert start >= highest, "a checkpoint was moved back"
            try:
                store.advance(KEY, name, position(start + 1))
                highest = start + 1
            except Fenced:
                continue
        return highest

    with ThreadPoolExecutor() as pool:
        highest = max(pool.map(fight, writers))
    assert blob.checkpoints(*KEY[:3]) == {"0": highest}


def test_a_lease_of_somebody_else_is_a_failure_not_a_loop(blob: Store) -> None:
    """It is answered with 412 as well, but says nothing about the writer."""
    store = writer(blob)
    store.create(KEY, position(0))
    store.fence(KEY, "one")
    lease = store._blob(KEY).acquire_lease()
    with pytest.raises(AzureError):
        store.advance(KEY, "one", position(1))
    lease.release()
    store.advance(KEY, "one", position(1))
    assert blob.checkpoints(*KEY[:3]) == {"0": 1}


def test_a_segment_that_two_replays_update_is_always_whole(blob: Store) -> None:
    hub: HubConfig = load(ENVIRONMENT).hub
    container = open_container(location(blob))
    stores = [DeadLetters(container, hub) for _ in range(3)]
    whole = {bytes([65 + number]) * 200_000 for number in range(len(stores))}

    def rewrite(pair: tuple[DeadLetters, bytes]) -> None:
        store, data = pair
        for _ in range(10):
            store.write("segment.jsonl", data)
            assert store.read("segment.jsonl") in whole | {None}
            store.remove("segment.jsonl")

    with ThreadPoolExecutor() as pool:
        list(pool.map(rewrite, zip(stores, sorted(whole), strict=True)))
    assert list(stores[0].names()) == []
