from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emulator import ThreadedEmulator
from tests.emulator.helpers import AsyncConsumer, Consumer, SyncConsumer

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let the SDK leave its connections to the garbage collector, as it does with broken ones.

    That the emulator closes its sockets is shown by a test of its own.
    """
    item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))


@pytest.fixture
def emulator() -> Iterator[ThreadedEmulator]:
    with ThreadedEmulator({"audit": 2, "other": 1}) as running:
        yield running


@pytest.fixture(params=[SyncConsumer, AsyncConsumer], ids=["sync", "asyncio"])
def consumer(request: pytest.FixtureRequest) -> type[Consumer]:
    chosen: type[Consumer] = request.param
    return chosen
