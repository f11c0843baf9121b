"""Falco is away for long: memory flat, partitions kept, probes honest, back at the first probe.

The CPU and the time that it takes are reported, and not asserted: they are the machine's as well.
"""

import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from testkit.rig import HUB, Rig, eventually
from testkit.rig.rig import GROUP
from testkit.streams.bodies import audit_bodies
from tests.fault.report import long, report

CPU_WINDOW_S = 5.0


def renewed_at(rig: Rig) -> list[float]:
    found: Any = rig.store.sdk.list_ownership(rig.namespace, HUB, GROUP)
    return [each["last_modified_time"] for each in found]


@pytest.mark.parametrize("rounds", [1, pytest.param(8, marks=long)])
def test_events_are_held_for_long(
    rig: Rig, record_property: Callable[[str, object], None], rounds: int
) -> None:
    with rig.forwarder(
        POSTMAXRETRIES="1", INFLIGHTMAXBYTES="2MiB", POSTBATCHMAXBYTES="1MiB"
    ) as forwarder:
        forwarder.wait_for_log("partition claimed", count=4)
        owners, process = rig.owners(), psutil.Process(forwarder.pid)
        with rig.falco.refusing():
            rig.publish(audit_bodies("held", 400, records=4, partitions=4, padding=4000))
            forwarder.wait_until_unready("sink", "ConnectError")
            forwarder.wait_until(
                lambda scrape: scrape.total("aks_audit_log_inflight_bytes") >= 1024**2
            )
            rss = process.memory_info().rss
            for _ in range(rounds):
                # Ownership is renewed while all callbacks wait for room.
                since = max(renewed_at(rig))
                eventually(lambda since=since: min(renewed_at(rig)) > since, "renewal")  # type: ignore[misc]
            process.cpu_percent()
            cpu = psutil.Process(forwarder.pid).cpu_percent(CPU_WINDOW_S)
            grown = process.memory_info().rss - rss
            assert rig.owners() == owners
            assert "sink" in forwarder.unready()
            assert forwarder.get("/livez").status_code == 200
            received = rig.falco.received.unique
        since, failed = time.monotonic(), len(forwarder.log("POST failed"))
        rig.falco.wait_for(lambda: rig.falco.received.unique > received)
        back = time.monotonic() - since
        rig.account.wait()
        # The first probe after its return delivers; one before it may be logged late.
        assert len(forwarder.log("POST failed")) <= failed + 1
        assert not forwarder.log("rebuilding the client"), "nothing hangs, lapses or spins"
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    report(
        record_property,
        f"endpoint away for {rounds} renewals of ownership",
        rig,
        cpu_percent=cpu,
        rss_grown_mib=round(grown / 1024**2, 1),
        back_after_s=round(back, 1),
    )
    assert grown < 20 * 1024**2
    assert rig.account.duplicates == 0
