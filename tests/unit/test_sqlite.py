import os
import sqlite3
import stat
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio

from aks_audit.checkpoints.checkpointer import Checkpointer
from aks_audit.checkpoints.ledger import Ledger
from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.checkpoints.store import Fenced
from aks_audit.config.load import load
from aks_audit.errors import Retryable
from aks_audit.model import START_OF_STREAM, HubEvent, Position
from aks_audit.ops.metrics import Metrics
from aks_audit.storage import call
from tests.helpers import ENVIRONMENT

SCOPE = ("x.servicebus.windows.net", "insights-logs-kube-audit", "$Default")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "checkpoints.db")


def named(partition: str, scope: tuple[str, str, str] = SCOPE, **more: object) -> dict[str, Any]:
    names = ("fully_qualified_namespace", "eventhub_name", "consumer_group")
    return {**dict(zip(names, scope, strict=True)), "partition_id": partition, **more}


def claim(store: SqliteStore, ownership: dict[str, Any]) -> dict[str, Any] | None:
    claimed = list(store.claim_ownership([ownership]))
    return claimed[0] if claimed else None


def owners(store: SqliteStore) -> dict[str, str]:
    return {one["partition_id"]: one["owner_id"] for one in store.list_ownership(*SCOPE)}


def checkpoints(store: SqliteStore) -> dict[str, tuple[int, str]]:
    return {
        one["partition_id"]: (one["sequence_number"], one["offset"])
        for one in store.list_checkpoints(*SCOPE)
    }


def test_an_empty_store_knows_nothing(store: SqliteStore) -> None:
    assert list(store.list_ownership(*SCOPE)) == []
    assert list(store.list_checkpoints(*SCOPE)) == []


def test_a_first_claim_is_ours(store: SqliteStore) -> None:
    claimed = claim(store, named("0", owner_id="me"))
    assert claimed is not None
    assert claimed["owner_id"] == "me"
    assert claimed["etag"]
    assert claimed["last_modified_time"] > 0
    assert list(store.list_ownership(*SCOPE)) == [claimed]


def test_a_claim_of_an_owned_partition_without_its_etag_loses(store: SqliteStore) -> None:
    claim(store, named("0", owner_id="first"))
    assert claim(store, named("0", owner_id="second")) is None
    assert claim(store, named("0", owner_id="second", etag="wrong")) is None
    assert owners(store) == {"0": "first"}


def test_a_claim_with_an_etag_of_a_partition_that_nobody_had_loses(
    store: SqliteStore,
) -> None:
    assert claim(store, named("0", owner_id="me", etag="made-up")) is None
    assert owners(store) == {}


def test_a_renewal_gives_a_new_etag_and_time(store: SqliteStore) -> None:
    first = claim(store, named("0", owner_id="me"))
    assert first is not None
    second = claim(store, first)
    assert second is not None
    assert second["etag"] != first["etag"]
    assert second["last_modified_time"] >= first["last_modified_time"]
    assert claim(store, first) is None  # its etag is used up


def test_who_knows_the_etag_may_steal(store: SqliteStore) -> None:
    first = claim(store, named("0", owner_id="me"))
    assert first is not None
    stolen = claim(store, {**first, "owner_id": "thief"})
    assert stolen is not None
    assert owners(store) == {"0": "thief"}
    assert claim(store, first) is None


def test_a_release_leaves_the_partition_without_owner_to_be_claimed(
    store: SqliteStore,
) -> None:
    first = claim(store, named("0", owner_id="me"))
    assert first is not None
    released = claim(store, {**first, "owner_id": ""})
    assert released is not None
    assert owners(store) == {"0": ""}
    assert claim(store, {**released, "owner_id": "next"}) is not None


def test_of_several_claims_only_the_won_ones_come_back(store: SqliteStore) -> None:
    claim(store, named("1", owner_id="other"))
    claimed = store.claim_ownership([named(name, owner_id="me") for name in ("0", "1", "2")])
    assert [one["partition_id"] for one in claimed] == ["0", "2"]
    assert owners(store) == {"0": "me", "1": "other", "2": "me"}


def test_checkpoints_are_kept(store: SqliteStore) -> None:
    store.update_checkpoint(named("0", offset="100", sequence_number=7))
    store.update_checkpoint(named("1", offset="-1", sequence_number=-1))
    assert checkpoints(store) == {"0": (7, "100"), "1": (-1, "-1")}


def key(partition: str = "0") -> tuple[str, str, str, str]:
    return (*SCOPE, partition)


def at(number: int) -> Position:
    return Position(number, f"o{number}")


def test_a_first_checkpoint_does_not_replace_another(store: SqliteStore) -> None:
    store.create(key(), at(5))
    store.create(key(), at(7))
    store.create(key(), at(3))
    assert checkpoints(store) == {"0": (5, "o5")}


class Watched(sqlite3.Connection):
    """A connection that notes how safe each of its commits is."""

    commits: ClassVar[list[int]] = []

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            (level,) = super().execute("PRAGMA synchronous").fetchone()
            self.commits.append(level)
        return super().execute(sql, *args)


def test_a_checkpoint_is_on_disk_before_it_counts_as_written(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit is flushed (FULL is 2, EXTRA is 3), so none is undone by a loss of power."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    monkeypatch.setattr(Watched, "commits", [])
    store.create(key(), at(0))
    store.fence(key(), "me")
    store.advance(key(), "me", at(1))
    assert len(Watched.commits) == 3
    assert min(Watched.commits) >= 2


def test_checkpoints_never_step_back(store: SqliteStore) -> None:
    store.create(key(), START_OF_STREAM)
    assert store.fence(key(), "me") == START_OF_STREAM
    for number in (7, 3, 9, 8, -1):
        store.advance(key(), "me", at(number))
    assert checkpoints(store) == {"0": (9, "o9")}


def test_a_claim_shuts_out_the_writer_before(store: SqliteStore) -> None:
    store.create(key(), at(0))
    store.fence(key(), "old")
    store.advance(key(), "old", at(3))
    assert store.fence(key(), "new") == at(3)
    with pytest.raises(Fenced):
        store.advance(key(), "old", at(9))
    store.advance(key(), "new", at(4))
    assert checkpoints(store) == {"0": (4, "o4")}


def test_a_checkpoint_that_has_vanished_is_made_again(store: SqliteStore) -> None:
    store.advance(key(), "me", at(1))
    assert checkpoints(store) == {"0": (1, "o1")}
    store.advance(key(), "me", at(2))
    assert checkpoints(store) == {"0": (2, "o2")}


def test_of_two_spellings_of_a_hub_one_goes_on(store: SqliteStore, tmp_path: Path) -> None:
    """As version 1.0 left them: the lower checkpoint counts, and the ownership claimed last."""
    store.create(key(), at(7))
    claim(store, named("0", owner_id="first"))
    spelt = [SCOPE[0], SCOPE[1].upper(), SCOPE[2], "0"]
    with sqlite3.connect(tmp_path / "checkpoints.db") as connection:
        connection.execute(
            "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, ?)", (*spelt, "o5", 5, "")
        )
        connection.execute(
            "INSERT INTO ownership VALUES (?, ?, ?, ?, ?, ?, ?)", (*spelt, "last", "tag", 2e9)
        )
    connection.close()
    (owned,) = {each["partition_id"]: each for each in store.list_ownership(*SCOPE)}.values()
    assert owned["owner_id"] == "last"
    assert claim(store, {**owned, "owner_id": "me"}) is not None
    assert store.fence(key(), "me").sequence_number == 5
    for number in (6, 8, 9):
        store.advance(key(), "me", at(number))
    assert checkpoints(store) == {"0": (9, "o9")}


def test_without_a_claim_nothing_advances(store: SqliteStore) -> None:
    store.create(key(), at(0))
    with pytest.raises(Fenced):
        store.advance(key(), "me", at(1))
    assert checkpoints(store) == {"0": (0, "o0")}


def test_a_fence_is_for_its_partition_only(store: SqliteStore) -> None:
    for name in ("0", "1"):
        store.create(key(name), at(0))
        store.fence(key(name), f"writer-{name}")
    store.advance(key("0"), "writer-0", at(1))
    with pytest.raises(Fenced):
        store.advance(key("1"), "writer-0", at(1))
    assert checkpoints(store) == {"0": (1, "o1"), "1": (0, "o0")}


@pytest.mark.parametrize("method", ["fence", "replace"])
async def test_a_checkpoint_that_is_gone_is_told(store: SqliteStore, method: str) -> None:
    args = (key(), "me") if method == "fence" else (key(), "me", at(1))
    assert "has lost the checkpoint of partition 0" in await failure(store, method, *args)


def test_hubs_and_consumer_groups_are_kept_apart(store: SqliteStore) -> None:
    elsewhere = [(*SCOPE[:2], "other"), (SCOPE[0], "other", SCOPE[2]), ("other", *SCOPE[1:])]
    for index, scope in enumerate(elsewhere):
        store.update_checkpoint(named("0", scope, offset="0", sequence_number=index))
        assert claim(store, named("0", scope, owner_id="me")) is not None
    assert checkpoints(store) == {}
    assert owners(store) == {}
    found = [next(iter(store.list_checkpoints(*scope)))["sequence_number"] for scope in elsewhere]
    assert found == [0, 1, 2]


def test_another_store_on_the_same_file_knows_it_all(store: SqliteStore, tmp_path: Path) -> None:
    claim(store, named("0", owner_id="me"))
    store.update_checkpoint(named("0", offset="1", sequence_number=1))
    again = SqliteStore(tmp_path / "checkpoints.db")
    assert owners(again) == {"0": "me"}
    assert checkpoints(again) == {"0": (1, "1")}


def test_a_failed_transaction_changes_nothing(store: SqliteStore) -> None:
    with pytest.raises(KeyError):
        store.claim_ownership([named("0", owner_id="me"), named("1")])
    assert owners(store) == {}


async def failure(store: SqliteStore, method: str, *args: object) -> str:
    """What `call` makes of the failure of a store's method."""
    with pytest.raises(Retryable) as fault:
        await call(trio.CapacityLimiter(1), getattr(store, method), *args)
    return fault.value.reason


CALLS: list[tuple[str, tuple[object, ...]]] = [
    ("list_ownership", SCOPE),
    ("claim_ownership", ([named("0", owner_id="me")],)),
    ("list_checkpoints", SCOPE),
    ("update_checkpoint", (named("0", offset="0", sequence_number=0),)),
    ("create", (key(), at(0))),
]


@pytest.mark.parametrize(("method", "args"), CALLS)
async def test_a_missing_directory_is_retryable(
    tmp_path: Path, method: str, args: tuple[object, ...]
) -> None:
    store = SqliteStore(tmp_path / "nowhere" / "checkpoints.db")
    assert "unable to open database file" in await failure(store, method, *args)
    (tmp_path / "nowhere").mkdir()
    getattr(store, method)(*args)


@pytest.mark.parametrize(("method", "args"), CALLS)
async def test_a_corrupt_file_is_retryable(
    tmp_path: Path, method: str, args: tuple[object, ...]
) -> None:
    file = tmp_path / "checkpoints.db"
    file.write_bytes(b"this is no database " * 500)
    assert "file is not a database" in await failure(SqliteStore(file), method, *args)
    assert file.read_bytes() == b"this is no database " * 500


async def test_a_directory_in_place_of_the_file_is_retryable(tmp_path: Path) -> None:
    assert "unable to open" in await failure(SqliteStore(tmp_path), *CALLS[0][:1], *SCOPE)


async def test_a_file_that_is_locked_for_too_long_is_retryable(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aks_audit.checkpoints.sqlite.SQLITE_BUSY_S", 0.01)
    store.list_ownership(*SCOPE)
    other = sqlite3.connect(tmp_path / "checkpoints.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "database is locked" in await failure(store, "list_ownership", *SCOPE)
    other.execute("ROLLBACK")
    other.close()
    assert owners(store) == {}


async def test_a_fault_of_our_own_is_not_retryable(store: SqliteStore) -> None:
    with pytest.raises(KeyError):
        await call(trio.CapacityLimiter(1), store.update_checkpoint, {})


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"
    store, before = SqliteStore(file), os.umask(0)
    try:
        store.create(key(), at(0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"
    file.touch()
    file.chmod(0o640)
    SqliteStore(file).create(key(), at(0))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


class AnswerLost(SqliteStore):
    """Writes, and fails to say so, once."""

    lost = False

    def advance(self, *args: Any) -> None:
        super().advance(*args)
        if not self.lost:
            self.lost = True
            raise OSError("connection reset")


async def test_a_write_whose_answer_was_lost_is_known_after_the_next_claim(tmp_path: Path) -> None:
    store = AnswerLost(tmp_path / "checkpoints.db")
    hub, ledger = load(ENVIRONMENT).hub, Ledger()
    checkpointer = Checkpointer(store, hub, ledger, Metrics().checkpoints)
    await checkpointer.create("0", at(0))
    claimed = await checkpointer.claim("0", at(0))
    claimed.open(HubEvent("0", at(1), 0.0, b""), 0)
    await checkpointer.flush()
    assert checkpointer.unwritten_since.keys() == {"0"}
    await checkpointer.claim("0", at(0))
    assert not checkpointer.unwritten_since
