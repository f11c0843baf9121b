"""A process that was killed keeps nobody waiting where it can be known that it is gone."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from aks_audit.hub.balancing import BALANCE_LAPSE_S
from testkit.rig import HUB, Rig, Store, open_rig
from testkit.rig.rig import GROUP
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report


def claimed_at(rig: Rig) -> dict[str, float]:
    found: Any = rig.store.sdk.list_ownership(rig.namespace, HUB, GROUP)
    return {each["partition_id"]: each["last_modified_time"] for each in found}


def test_what_a_killed_process_owned_is_taken_before_it_expires(
    rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    with rig.forwarder() as one:
        one.wait_for_log("partition claimed", count=4)
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        one.kill()
    last = claimed_at(rig)
    assert set(rig.owners().values()) == {""}
    rig.publish(audit_bodies("after", 40, partitions=4))
    with rig.forwarder() as two:
        two.wait_for_log("partition claimed", count=4)
        taken = claimed_at(rig)
        for partition, moment in last.items():
            assert moment < taken[partition] < moment + BALANCE_LAPSE_S, "before it expired"
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert two.stop() == 0
    report(record_property, "killed, the next one on the same machine", rig)
    assert rig.account.duplicates == 0


@pytest.mark.parametrize("stopped", [False, True], ids=["lives", "is stopped"])
def test_what_a_living_process_owns_is_not_taken(sqlite: Store, *, stopped: bool) -> None:
    # Of one partition nothing is taken for the sake of balance.
    with open_rig(sqlite, partitions=1) as rig, rig.forwarder() as one:
        one.wait_for_log("partition claimed")
        owners = rig.owners()
        if stopped:
            one.signal(signal.SIGSTOP)
        with rig.forwarder() as two:
            two.wait_until_ready()  # a round of load balancing has worked
            renewed = claimed_at(rig)
            assert rig.owners() == owners
            assert not two.log("partition claimed")
            assert two.stop() == 0
        assert renewed.keys() == owners.keys() == {"0"}
        if stopped:
            one.signal(signal.SIGCONT)
        rig.publish(audit_bodies("after", 10))
        rig.account.wait()
        assert rig.owners() == owners
        assert one.stop() == 0
        rig.account.check()
