from aks_audit.ops.health import Health, Heartbeat


def test_nothing_to_check_is_well() -> None:
    health = Health()
    assert health.stalled() == {}
    assert health.unready() == {}


def test_the_failing_parts_are_named_with_their_reasons() -> None:
    health = Health()
    health.add("source", live=lambda: None, ready=lambda: "not connected")
    health.add("sink", live=lambda: "stuck", ready=lambda: "holding")
    health.add("stats")
    assert health.stalled() == {"sink": "stuck"}
    assert health.unready() == {"source": "not connected", "sink": "holding"}


def test_parts_are_asked_each_time() -> None:
    answers = iter(["starting", None, "lost"])
    health = Health()
    health.add("source", ready=lambda: next(answers))
    assert health.unready() == {"source": "starting"}
    assert health.unready() == {}
    assert health.unready() == {"source": "lost"}


def test_a_part_may_take_part_in_both_probes_at_different_times() -> None:
    health = Health()
    health.add("sink", live=lambda: "stuck")
    health.add("sink", ready=lambda: "holding")
    assert health.stalled() == {"sink": "stuck"}
    assert health.unready() == {"sink": "holding"}


def test_the_reason_may_be_empty() -> None:
    health = Health()
    health.add("sink", ready=lambda: "")
    assert health.unready() == {"sink": ""}


def test_a_heartbeat_is_overdue_only_after_what_was_promised() -> None:
    now = 100.0
    beat = Heartbeat(lambda: now)
    now = 10_000.0
    assert beat.overdue() is None  # nothing was promised
    beat.expect(within_s=5)
    now = 10_005.0
    assert beat.overdue() is None
    now = 10_007.0
    assert beat.overdue() == "no progress, 2 s overdue"
    beat.expect(within_s=1)
    assert beat.overdue() is None


def test_a_heartbeat_at_rest_is_never_overdue() -> None:
    now = 0.0
    beat = Heartbeat(lambda: now)
    beat.expect(within_s=5)
    beat.rest()
    now = 1000.0
    assert beat.overdue() is None
