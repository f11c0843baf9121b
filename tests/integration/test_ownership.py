"""What stays owned after a stop: nothing, whatever the load balancer was doing."""

import sys

from testkit.rig import Rig

STOPPED_IN_A_ROUND = """
import os, signal, threading

from aks_audit.checkpoints.sqlite import SqliteStore
from aks_audit.hub import receiver

receiver.BALANCE_S = 1
claim, rounds, released = SqliteStore.claim_ownership, 0, threading.Event()


def claim_ownership(store, wanted, **known):
    global rounds
    wanted = list(wanted)
    claimed = list(claim(store, wanted))
    if not all(each["owner_id"] for each in wanted):
        released.set()
        return claimed
    rounds += 1
    if rounds == 2:  # which renews, under new ETags, what the first one claimed
        os.kill(os.getpid(), signal.SIGTERM)
        assert released.wait(60), "the SDK was to release what it knows to be its own"
    return claimed


SqliteStore.claim_ownership = claim_ownership

from aks_audit.__main__ import main
main()
"""


def test_a_stop_in_the_middle_of_a_round_releases_all(rig: Rig) -> None:
    """The store refuses the SDK's release: its ETags are those from before the round."""
    forwarder = rig.forwarder()
    forwarder._command = [sys.executable, "-c", STOPPED_IN_A_ROUND]
    with forwarder:
        assert forwarder.wait() == 0
        assert not forwarder.stray()
    assert set(rig.owners().values()) == {""}
