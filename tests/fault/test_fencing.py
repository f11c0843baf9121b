"""Two writers, lost answers: a checkpoint never goes back, and only the last claim moves it."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.storage.blob import ContainerClient

from aks_audit.checkpoints.blob import BlobStore
from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.checkpoints.store import Fenced, Key, Store
from aks_audit.model import START_OF_STREAM, Position
from testkit.rig import Azurite

KEY: Key = ("x.servicebus.windows.net", "hub", "$Default", "3")


def at(number: int) -> Position:
    return Position(number, f"o{number}")


def held(store: Store) -> int:
    (found,) = store.list_checkpoints(*KEY[:3])
    return int(found["sequence_number"])


@pytest.fixture(params=["sqlite", "blob"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """One store as two processes see it."""
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "c.sqlite"), SqliteStore(tmp_path / "c.sqlite")
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    name = f"c-{uuid4().hex}"
    with (
        ContainerClient.from_connection_string(azurite.connection_string, name) as one,
        ContainerClient.from_connection_string(azurite.connection_string, name) as other,
    ):
        one.create_container()
        yield BlobStore(one), BlobStore(other)


def test_the_first_of_two_first_checkpoints_stands_for_both(replicas: tuple[Store, Store]) -> None:
    one, other = replicas
    assert one.create(KEY, at(100)) == at(100)
    assert other.create(KEY, at(150)) == at(100)
    assert held(one) == 100


def test_a_fence_shuts_the_earlier_writer_out(replicas: tuple[Store, Store]) -> None:
    one, other = replicas
    one.create(KEY, START_OF_STREAM)
    assert one.fence(KEY, "a") == START_OF_STREAM
    one.advance(KEY, "a", at(5))
    assert other.fence(KEY, "b") == at(5)
    with pytest.raises(Fenced):
        one.advance(KEY, "a", at(9))
    other.advance(KEY, "b", at(7))
    with pytest.raises(Fenced):
        one.advance(KEY, "a", at(9))
    assert held(one) == 7


def test_an_earlier_claim_of_the_same_process_is_shut_out_as_well(
    replicas: tuple[Store, Store],
) -> None:
    one, _ = replicas
    one.create(KEY, START_OF_STREAM)
    one.fence(KEY, "a")
    one.advance(KEY, "a", at(5))
    one.fence(KEY, "b")
    with pytest.raises(Fenced):
        one.advance(KEY, "a", at(9))
    one.advance(KEY, "b", at(6))
    assert held(one) == 6


def test_a_position_behind_the_last_one_changes_nothing(replicas: tuple[Store, Store]) -> None:
    one, _ = replicas
    one.create(KEY, START_OF_STREAM)
    one.fence(KEY, "a")
    one.advance(KEY, "a", at(12))
    one.advance(KEY, "a", at(10))
    assert held(one) == 12


def test_writes_that_overtake_each_other_end_with_the_last_position(
    replicas: tuple[Store, Store],
) -> None:
    one, other = replicas
    one.create(KEY, START_OF_STREAM)
    one.fence(KEY, "a")
    numbers = random.sample(range(60), 60)
    seen = []
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(partial(one.advance, KEY, "a", at(number))) for number in numbers]
        while not all(each.done() for each in done):
            seen.append(held(other))
        for each in done:
            each.result()
    assert held(one) == 59
    assert seen == sorted(seen)


def test_replicas_that_claim_in_turn_never_move_it_back(replicas: tuple[Store, Store]) -> None:
    one, _ = replicas
    one.create(KEY, START_OF_STREAM)
    reached = -1
    for turn in range(12):
        store, writer = replicas[turn % 2], f"w{turn}"
        assert store.fence(KEY, writer).sequence_number == reached
        loser = replicas[(turn + 1) % 2]
        if turn:
            with pytest.raises(Fenced):
                loser.advance(KEY, f"w{turn - 1}", at(1000))
        reached += 2
        store.advance(KEY, writer, at(reached))
        assert held(one) == reached


class LosesAnswers(BlobStore):
    """Writes, and then does not hear that it did."""

    losing = False

    def _write(self, key: Key, writer: str, position: Position, etag: str) -> None:
        known = self._held.get(key)
        super()._write(key, writer, position, etag)
        if self.losing:
            self.losing = False
            if known is not None:
                self._held[key] = known
            raise ServiceResponseError("the answer was lost")


def test_a_lost_answer_is_found_out(azurite: Azurite) -> None:
    name = f"c-{uuid4().hex}"
    with ContainerClient.from_connection_string(azurite.connection_string, name) as container:
        container.create_container()
        store = LosesAnswers(container)
        store.create(KEY, START_OF_STREAM)
        store.fence(KEY, "a")
        for lost, retried in ((at(5), at(5)), (at(6), at(7))):
            store.losing = True
            with pytest.raises(ServiceResponseError):
                store.advance(KEY, "a", lost)
            store.advance(KEY, "a", retried)
            assert held(store) == retried.sequence_number
        store.losing = True
        with pytest.raises(ServiceResponseError):
            store.fence(KEY, "b")
        assert store.fence(KEY, "c") == at(7)
        store.advance(KEY, "c", at(8))
        assert held(store) == 8
