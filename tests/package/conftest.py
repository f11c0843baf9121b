"""The executable, as users run it: `make binary` makes it, REQUIRE_BINARY insists on it."""

import os
from pathlib import Path

import pytest

from tests.integration.conftest import azurite, blob, rig, sqlite

__all__ = ["azurite", "binary", "blob", "rig", "sqlite"]

BINARY = Path(__file__).parents[2] / "dist" / "aks-audit-log"


@pytest.fixture(scope="session")
def binary() -> str:
    if BINARY.is_file():
        return str(BINARY)
    if os.environ.get("REQUIRE_BINARY"):
        pytest.fail(f"REQUIRE_BINARY is set, but {BINARY} is not there: run `make binary`")
    pytest.skip("no executable here: `make binary` makes it")
