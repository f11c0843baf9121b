"""Hub events of the largest size on many partitions, and nobody who takes them."""

import time
from collections.abc import Callable

import psutil

from emulator import Broker
from testkit.rig import HUB, Store, eventually, open_rig
from testkit.streams.bodies import audit_bodies
from tests.fault.report import report

PARTITIONS = 32
EACH = 8
"""Hub events of a partition: more than the SDK buffers of one."""
LIMIT = 300 * 1024**2
STILL_S = 4.0


def has_settled(process: psutil.Process) -> Callable[[], bool]:
    """Tell whether memory stopped growing: for so long no new maximum."""
    highest, since = 0, time.monotonic()

    def settled() -> bool:
        nonlocal highest, since
        now = process.memory_info().rss
        if now > highest:
            highest, since = now, time.monotonic()
        return time.monotonic() - since > STILL_S

    return settled


def test_memory_is_bounded(sqlite: Store, record_property: Callable[[str, object], None]) -> None:
    broker = Broker({HUB: PARTITIONS}, retention_bytes=2 * 1024**3)
    with open_rig(sqlite, broker=broker) as rig, rig.forwarder() as forwarder:
        forwarder.wait_for_log("partition claimed", count=PARTITIONS)
        rig.falco.faults.answer(503, times=None)
        big = audit_bodies(
            "big", PARTITIONS * EACH, records=5, partitions=PARTITIONS, padding=199_000
        )
        rig.publish(big)
        assert 900_000 < len(rig.published[0].body) < 1024**2
        process = psutil.Process(forwarder.pid)
        forwarder.wait_until(
            lambda scrape: scrape.total("aks_audit_log_inflight_bytes") >= 32 * 1024**2
        )
        eventually(has_settled(process), "an end of growing", 90)
        held = process.memory_info().rss
        rig.falco.faults.clear()
        highest = held

        def delivered() -> bool:
            nonlocal highest
            highest = max(highest, process.memory_info().rss)
            return rig.account.complete()

        eventually(delivered, "delivery", 120)
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        report(
            record_property,
            f"{PARTITIONS} partitions full of 1 MB hub events, sink stalled",
            rig,
            held_mib=held // 1024**2,
            highest_mib=highest // 1024**2,
        )
    assert held < LIMIT
    assert highest < LIMIT
