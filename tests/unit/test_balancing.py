"""What the rounds of load balancing have found, and what of it makes the probe say no."""

import time
from typing import Any

import pytest

from aks_audit.hub.balancing import BALANCE_LAPSE_S, Balancing
from aks_audit.hub.watchdog import Watchdog

ALL = frozenset({"0", "1"})


def owned_by(owner: str, *partitions: str, age_s: float = 0) -> list[dict[str, Any]]:
    modified = time.time() - age_s
    return [
        {"partition_id": each, "owner_id": owner, "last_modified_time": modified}
        for each in partitions
    ]


@pytest.fixture
def balancing() -> Balancing:
    made = Balancing()
    made.partitions = ALL
    return made


def unready(balancing: Balancing, *, after_s: float = 0) -> str | None:
    return balancing.unready(time.monotonic() + after_s, None)


def test_before_the_first_round_it_is_connecting(balancing: Balancing) -> None:
    assert unready(balancing) == "connecting: no answer yet"
    assert balancing.unready(0, "no route to host") == "connecting: no route to host"


def test_a_list_alone_is_not_a_round_that_worked(balancing: Balancing) -> None:
    balancing.listed([], None)
    balancing.failed("this request is not authorized")
    for _ in range(3):
        balancing.listed([], None)
        assert (
            unready(balancing)
            == "nothing is claimed yet (owned by nobody: 0, 1): this request is not authorized"
        )
        assert balancing.unowned == ALL
        balancing.failed("this request is not authorized")


def test_a_claim_that_works_makes_it_ready(balancing: Balancing) -> None:
    balancing.listed([], None)
    balancing.claimed(ALL, {"0"})  # somebody else was quicker with the other one
    assert unready(balancing) is None
    assert balancing.owned == {"0"}
    assert not balancing.unowned


def test_nothing_is_to_be_claimed_where_others_own_all(balancing: Balancing) -> None:
    balancing.listed(owned_by("other", "0", "1"), None)
    assert unready(balancing) is None
    assert not balancing.owned


@pytest.mark.parametrize(
    "other", [owned_by("other", "1", age_s=BALANCE_LAPSE_S + 1), owned_by("", "1"), []]
)
def test_an_owner_that_is_gone_owns_nothing(
    balancing: Balancing, other: list[dict[str, Any]]
) -> None:
    balancing.listed([*owned_by("other", "0"), *other], None)
    assert balancing.unowned == {"1"}
    assert "owned by nobody: 1" in str(unready(balancing))


def test_ownership_outlives_rounds_that_fail_for_as_long_as_it_lasts(balancing: Balancing) -> None:
    balancing.listed([], None)
    balancing.claimed(ALL, ALL)
    balancing.failed("no route to host")
    assert unready(balancing, after_s=BALANCE_LAPSE_S - 1) is None
    wrong = unready(balancing, after_s=BALANCE_LAPSE_S + 1)
    assert "ownership has expired: no route to host" in str(wrong)
    balancing.listed(owned_by("us", "0", "1"), "us")
    assert unready(balancing, after_s=BALANCE_LAPSE_S + 1) == wrong
    balancing.claimed(ALL, ALL)
    assert unready(balancing) is None


def test_a_partition_that_is_released_is_nobody_s(balancing: Balancing) -> None:
    balancing.claimed({"0"}, {"0"})
    balancing.released("0")
    assert unready(balancing) == "nothing is ours (owned by nobody: 0)"


def test_what_is_ours_has_to_be_read(balancing: Balancing) -> None:
    watchdog = Watchdog()
    watchdog.balancing = balancing
    balancing.claimed(ALL, ALL)
    watchdog.claimed("0")
    assert watchdog.unready(None) == "partition 1 is ours and not read yet"
    watchdog.failed("1", "no such checkpoint")
    assert watchdog.unready(None) == "partition 1 is not read: no such checkpoint"
    watchdog.claimed("1")
    watchdog.called_back("1", events=0)
    assert watchdog.unready(None) is None
