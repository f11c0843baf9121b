"""The rigs and stores are those of the integration tests."""

import pytest

from testkit.rig import Rig
from tests.fault.books import Books, Report
from tests.integration.conftest import azurite, blob, rig, sqlite, store, stored_rig

__all__ = ["azurite", "blob", "books", "rig", "sqlite", "store", "stored_rig"]


@pytest.fixture
def books(rig: Rig, record_property: Report) -> Books:
    """The accounts of the rig; they go into the report of the test."""
    return Books(rig, record_property)
