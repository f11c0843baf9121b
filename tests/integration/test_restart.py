import signal
from functools import partial

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies


def test_an_orderly_restart_loses_nothing_and_repeats_nothing(stored_rig: Rig) -> None:
    rig = stored_rig
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, records=3, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.publish(audit_bodies("between", 40, records=3, partitions=4))
    with rig.forwarder() as forwarder:
        rig.account.wait()
        rig.publish(audit_bodies("after", 4, partitions=4))
        rig.account.wait()
        assert forwarder.metrics().total("aks_audit_log_hub_events_total") == 44
        assert forwarder.stop() == 0
    rig.account.check()
    assert rig.checkpoints() == rig.last_sequence_numbers()


def test_what_was_not_checkpointed_before_a_kill_comes_again(stored_rig: Rig) -> None:
    rig = stored_rig
    rig.falco.faults.script("200*100 silence*forever")
    rig.publish(audit_bodies("backlog", 400, records=2, partitions=4))
    with rig.forwarder(POSTBATCHMAXEVENTS="3", POSTCONCURRENCY="2") as forwarder:
        forwarder.wait_until(
            lambda scrape: scrape.total("aks_audit_log_checkpoint_writes_total") > 4
        )
        forwarder.kill()
    assert rig.account.lost, "it was to be killed on the way"
    behind = rig.behind_checkpoints()
    rig.release_owners()
    rig.falco.faults.clear()
    with rig.forwarder() as forwarder:
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
    rig.account.check(duplicates_at_most=behind)
    assert behind < 800, "something was to be checkpointed before"


def has_more_than(rig: Rig, count: int) -> bool:
    return rig.falco.received.unique > count


def test_repeated_kills_lose_nothing(rig: Rig) -> None:
    rig.falco.faults.latency_ms = 10
    at_most = 0
    for life in range(3):
        rig.publish(audit_bodies(f"life-{life}", 100, records=3, partitions=4))
        seen = rig.falco.received.unique
        with rig.forwarder(POSTBATCHMAXEVENTS="4") as forwarder:
            rig.falco.wait_for(partial(has_more_than, rig, seen + 50))
            forwarder.kill()
        at_most += rig.behind_checkpoints()
        rig.release_owners()
    with rig.forwarder() as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check(duplicates_at_most=at_most)


def test_a_stop_drains_what_is_in_flight(stored_rig: Rig) -> None:
    stop_on_the_way(stored_rig, signal.SIGTERM)


def test_an_interrupt_does_so_as_well(rig: Rig) -> None:
    stop_on_the_way(rig, signal.SIGINT)


def stop_on_the_way(rig: Rig, number: signal.Signals) -> None:
    rig.falco.faults.latency_ms = 50
    rig.publish(audit_bodies("backlog", 200, records=2, partitions=4))
    with rig.forwarder(POSTBATCHMAXEVENTS="10", POSTCONCURRENCY="2") as forwarder:
        rig.falco.wait_for(lambda: rig.falco.count > 0)
        forwarder.signal(number)
        assert forwarder.wait() == 0
        assert forwarder.log("shutting down", signal=number.name)
        assert forwarder.log("stopped")
        assert not forwarder.stray()
    assert set(rig.owners().values()) == {""}
    rig.falco.faults.latency_ms = 0
    with rig.forwarder() as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check(duplicates_at_most=0)


def test_a_stop_waits_for_the_answer_that_is_under_way(rig: Rig) -> None:
    """The answer comes long after the source could have been closed, and is checkpointed."""
    rig.falco.faults.delay(8)
    rig.publish(audit_bodies("slow", 1, records=5))
    with rig.forwarder(SHUTDOWNGRACE="120000") as forwarder:
        rig.falco.wait_for(lambda: rig.falco.count == 5)
        assert forwarder.stop() == 0
        assert not forwarder.log(level="warning")
    assert rig.checkpoints() == rig.last_sequence_numbers()
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("after", 4, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check(duplicates_at_most=0)


def test_a_silent_endpoint_does_not_keep_it_from_stopping(rig: Rig) -> None:
    rig.falco.faults.silence(times=None)
    rig.publish(audit_bodies("held", 40, records=2, partitions=4))
    with rig.forwarder(SHUTDOWNGRACE="300") as forwarder:
        rig.falco.wait_for(lambda: rig.falco.received.requests > 0)
        assert forwarder.stop() == 0
        (line,) = forwarder.log(
            "not drained within the grace period; what is left will be sent after the restart"
        )
        assert line["events"] > 0
        assert not forwarder.stray()
    assert set(rig.owners().values()) == {""}
    assert set(rig.checkpoints().values()) == {-1}
    rig.falco.faults.clear()
    with rig.forwarder() as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_a_full_channel_does_not_keep_it_from_stopping(rig: Rig) -> None:
    rig.falco.faults.answer(503, times=None)
    rig.publish(audit_bodies("held", 60, records=10, partitions=4, padding=10_000))
    with rig.forwarder(
        INFLIGHTMAXBYTES="1MiB", POSTBATCHMAXBYTES="256KiB", SHUTDOWNGRACE="100"
    ) as forwarder:
        forwarder.wait_until(
            lambda scrape: scrape.total("aks_audit_log_inflight_bytes") >= 512 * 1024
        )
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    assert set(rig.owners().values()) == {""}
    rig.falco.faults.clear()
    with rig.forwarder() as forwarder:
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()
