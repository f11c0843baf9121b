"""The rigs and stores are those of the integration tests."""

import pytest

from testkit.rig import Rig
from tests.fault.balance import Balance, Report
from tests.integration.conftest import azurite, blob, rig, sqlite, store, stored_rig

__all__ = ["azurite", "balance", "blob", "rig", "sqlite", "store", "stored_rig"]


@pytest.fixture
def balance(rig: Rig, record_property: Report) -> Balance:
    """The balance of the rig; its numbers go into the report of the test."""
    return Balance(rig, record_property)
