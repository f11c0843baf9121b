import random
import secrets
from collections.abc import Callable
from functools import partial

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

LIVES = 5
PER_LIFE = 600  # audit events


def reached(rig: Rig, count: int) -> bool:
    return rig.falco.received.unique >= count


def test_kills_at_random_moments_lose_nothing(
    stored_rig: Rig, record_property: Callable[[str, object], None]
) -> None:
    rig = stored_rig
    seed = secrets.randbits(32)
    print("seed", seed)  # noqa: T201
    dice = random.Random(seed)
    rig.falco.faults.latency_ms = 5
    at_most = 0
    for life in range(LIVES):
        rig.publish(audit_bodies(f"life-{life}", PER_LIFE // 3, records=3, partitions=4))
        before = rig.falco.received.unique
        with rig.forwarder(POSTBATCHMAXEVENTS="8") as forwarder:
            moment = before + dice.randrange(PER_LIFE)
            rig.falco.wait_for(partial(reached, rig, moment))
            forwarder.kill()
        at_most += rig.behind_checkpoints()
        rig.release_owners()
    rig.falco.faults.latency_ms = 0
    with rig.forwarder() as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    report(record_property, f"{LIVES} kills under load", rig, bound=at_most)
    assert rig.account.duplicates <= at_most
