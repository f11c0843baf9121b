import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.rig import Azurite, Rig, Store, blob_store, open_rig, sqlite_store
from testkit.rig.azurite import run_azurite


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    why = Azurite.missing()
    if why is not None and os.environ.get("REQUIRE_AZURITE"):
        pytest.fail(f"REQUIRE_AZURITE is set, but {why}")
    if why is not None:
        pytest.skip(why)
    with run_azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def sqlite(tmp_path: Path) -> Store:
    return sqlite_store(tmp_path)


@pytest.fixture
def blob(azurite: Azurite) -> Store:
    return blob_store(azurite.connection_string)


@pytest.fixture(params=["sqlite", "blob"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the stores in turn."""
    chosen: Store = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def rig(sqlite: Store) -> Iterator[Rig]:
    """The whole path, for tests to which it does not matter where checkpoints are kept."""
    with open_rig(sqlite) as running:
        yield running


@pytest.fixture
def stored_rig(store: Store) -> Iterator[Rig]:
    """The whole path, with each of the stores in turn."""
    with open_rig(store) as running:
        yield running
