"""The way from the handover into the destinations: what becomes of a hub event."""

import json

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from aks_audit.audit.filters import parse as parse_filters
from aks_audit.checkpoints.ledger import COMPACT_MIN, Ledger, PartitionLedger
from aks_audit.config.routes import parse as parse_routes
from aks_audit.model import START_OF_STREAM, HubEvent, Outcome, Position
from aks_audit.ops.metrics import Metrics
from tests.helpers import (
    audit_event,
    capture,
    envelope,
    events_config,
    make_intake,
    make_items,
    record,
    take_all,
    waiting,
)

KLOG = "I0109 21:24:54.475483 1 x.go:548] text"
ROUTES = """
[[route]]
name = "prod"
cluster = "prod-*"
url = "http://falco.prod/k8s-audit"

[[route]]
name = "admin"
category = "kube-audit-admin"
url = "http://falco.admin/k8s-audit"
"""


def whole(number: int, *records: object, partition: str = "0") -> HubEvent:
    return HubEvent(partition, Position(number, str(number)), 0.0, envelope(*records))


def hub_event(number: int, *audit_ids: str, partition: str = "0") -> HubEvent:
    records = (record(audit_event(audit_id).decode()) for audit_id in audit_ids)
    return whole(number, *records, partition=partition)


def of_cluster(name: str, audit_id: str, category: str = "kube-audit") -> dict[str, object]:
    path = f"/SUBSCRIPTIONS/X/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/{name.upper()}"
    return record(audit_event(audit_id).decode(), category) | {"resourceId": path}


def kinds(metrics: Metrics) -> dict[tuple[str, str], float]:
    (family,) = metrics.intake.clusters.collect()
    return {
        (sample.labels["cluster"], sample.labels["kind"]): sample.value for sample in family.samples
    }


async def test_an_event_cut_off_before_the_channel_is_taken_when_it_comes_again(
    autojump_clock: MockClock,
) -> None:
    """A session that ends while the channel is full must not leave a hole behind."""
    ledgers = Ledger()
    intake, setups = make_intake(max_events=1)
    channel, in_flight = setups["default"].channel, setups["default"].in_flight
    ledger = ledgers.claim("0", START_OF_STREAM)
    first, _ = make_items(1, PartitionLedger("1", START_OF_STREAM))
    channel.put(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.forward, ledger, hub_event(0, "a", "b"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert ledgers.claim("0", START_OF_STREAM) is ledger
    in_flight.settle(await channel.take(), Outcome.DELIVERED)
    await intake.forward(ledger, hub_event(0, "a", "b"))
    items = await channel.take()
    assert [item.event.audit_id for item in items] == ["a", "b"]
    for item in items:
        item.ticket.settle()
    assert ledger.done == Position(0, "0")


async def test_an_event_of_a_claim_that_ended_while_it_waited_is_left_to_the_next(
    autojump_clock: MockClock,
) -> None:
    ledgers = Ledger()
    intake, setups = make_intake(max_events=1)
    channel, in_flight = setups["default"].channel, setups["default"].in_flight
    ledger = ledgers.claim("0", START_OF_STREAM)
    first, _ = make_items(1, PartitionLedger("1", START_OF_STREAM))
    channel.put(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.forward, ledger, hub_event(0, "a"))
        await trio.testing.wait_all_tasks_blocked()
        fresh = ledgers.claim("0", Position(-1, "elsewhere"))
        in_flight.settle(take_all(channel), Outcome.DELIVERED)
    assert take_all(channel) == []
    await intake.forward(fresh, hub_event(0, "a"))
    assert [item.event.audit_id for item in take_all(channel)] == ["a"]


async def test_events_come_into_the_channel_once(autojump_clock: MockClock) -> None:
    ledgers, metrics = Ledger(), Metrics()
    intake, setups = make_intake(metrics=metrics)
    ledger = ledgers.claim("0", Position(4, "4"))
    for event in (hub_event(5, "a"), hub_event(5, "a"), hub_event(6), hub_event(9, "b")):
        await intake.forward(ledger, event)
    items = take_all(setups["default"].channel)
    assert [item.event.audit_id for item in items] == ["a", "b"]
    assert metrics.intake.redelivered._value.get() == 1
    assert metrics.intake.gaps.labels("0")._value.get() == 2
    assert ledger.done == Position(4, "4")
    items[0].ticket.settle()
    assert ledger.done == Position(6, "6")


async def test_what_is_skipped_is_counted_by_reason_and_holds_nothing_up(
    autojump_clock: MockClock,
) -> None:
    ledgers, metrics = Ledger(), Metrics()
    intake, setups = make_intake(metrics=metrics)
    ledger = ledgers.claim("0", START_OF_STREAM)
    body = whole(0, record(KLOG), record(audit_event().decode()[:-9]), record(KLOG))
    await intake.forward(ledger, body)
    await intake.forward(ledger, HubEvent("0", Position(1, "1"), 0.0, b"\xff"))
    counts = {
        reason: metrics.intake.skipped.labels(reason)._value.get()
        for reason in ("klog", "broken-audit", "broken-body")
    }
    assert counts == {"klog": 2, "broken-audit": 1, "broken-body": 1}
    assert ledger.done == Position(1, "1")
    assert setups["default"].in_flight.events == 0
    letters = setups["default"].letters.letters
    assert [(letter.reason, letter.sequence_number) for letter in letters] == [
        ("broken-audit", 0),
        ("broken-body", 1),
    ]
    assert [letter.body for letter in letters] == [audit_event()[:-9], b"\xff"]


def padded(audit_id: str, size: int) -> bytes:
    raw = audit_event(audit_id)
    return raw[:-1] + b',"pad":"' + b"x" * (size - len(raw) - 9) + b'"}'


async def test_an_event_larger_than_falco_takes_is_kept_aside(autojump_clock: MockClock) -> None:
    ledgers = Ledger()
    intake, setups = make_intake()
    ledger = ledgers.claim("0", START_OF_STREAM)
    large, limit = padded("large", 5001), padded("limit", 5000)
    assert (len(large), len(limit)) == (5001, 5000)
    await intake.forward(ledger, whole(0, record(large.decode()), record(limit.decode())))
    items = take_all(setups["default"].channel)
    assert [item.event.audit_id for item in items] == ["limit"]
    letters = setups["default"].letters.letters
    assert [(letter.audit_id, letter.body) for letter in letters] == [("large", large)]
    items[0].ticket.settle()
    assert ledger.done == Position(0, "0")


async def test_a_cut_event_that_is_too_large_once_rebuilt_is_kept_aside(
    autojump_clock: MockClock,
) -> None:
    """It grows by the timestamps, so that its body may be smaller than it."""
    intake, setups = make_intake()
    ledger = Ledger().claim("0", START_OF_STREAM)
    cut = padded("cut", 4990).replace(b',"pad"', b',"verb":"get","user":{"username":"u"},"pad"')
    cut = cut[:4980].replace(b',"stageTimestamp":"2026-03-01T10:00:00.123456Z"', b"")
    cut += b"x" * (4980 - len(cut)) + b'","more":"x'
    await intake.forward(ledger, HubEvent("0", Position(0, "0"), 0.0, cut))
    assert take_all(setups["default"].channel) == []
    assert [letter.reason for letter in setups["default"].letters.letters] == ["too-large"]


async def test_a_cut_event_is_rebuilt_with_the_time_of_its_record_counted_and_told(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    lines = capture(monkeypatch, "aks_audit.delivery.arrivals.log")

    metrics = Metrics()
    intake, setups = make_intake(metrics=metrics)
    ledger = Ledger().claim("0", START_OF_STREAM)
    log = audit_event("cut", verb="get", user={"username": "u"}, requestObject={"a": [1, 22]})
    log = log.replace(b',"stageTimestamp":"2026-03-01T10:00:00.123456Z"', b"")[:-4]
    timeless = record(log.decode()) | {"time": "yesterday"}
    await intake.forward(ledger, whole(0, record(log.decode()), timeless))
    first, second = (json.loads(item.event.raw) for item in take_all(setups["default"].channel))
    assert first["stageTimestamp"] == "2026-03-01T10:00:00Z"
    assert second["stageTimestamp"] == "1970-01-01T00:00:00+00:00"
    assert first["requestObject"] == {"a": [1]}
    assert metrics.intake.salvaged._value.get() == 2
    assert kinds(metrics) == {("", "forwarded"): 2, ("", "salvaged"): 2}
    assert [(line["log_level"], line["audit_id"]) for line in lines.entries] == [
        ("warning", "cut"),
        ("warning", "cut"),
    ]


async def test_without_salvage_a_cut_event_is_a_dead_letter(autojump_clock: MockClock) -> None:
    intake, setups = make_intake(events_config(salvage=False))
    ledger = Ledger().claim("0", START_OF_STREAM)
    log = audit_event("cut", verb="get", user={"username": "u"})[:-1]
    await intake.forward(ledger, whole(0, record(log.decode())))
    assert take_all(setups["default"].channel) == []
    assert [letter.body for letter in setups["default"].letters.letters] == [log]


async def test_a_copy_is_not_posted_and_its_hub_event_waits_for_the_first(
    autojump_clock: MockClock,
) -> None:
    metrics = Metrics()
    intake, setups = make_intake(metrics=metrics)
    ledgers = Ledger()
    one, two = (ledgers.claim(partition, START_OF_STREAM) for partition in "01")
    await intake.forward(one, hub_event(0, "a", "b"))
    await intake.forward(two, hub_event(0, "b", "a", partition="1"))
    await intake.forward(two, hub_event(1, "b", partition="1"))
    items = take_all(setups["default"].channel)
    assert [item.event.audit_id for item in items] == ["a", "b"]
    assert metrics.intake.duplicates._value.get() == 3
    assert kinds(metrics) == {("", "forwarded"): 2, ("", "duplicate"): 3}
    items[1].ticket.settle()
    assert two.done == START_OF_STREAM
    items[0].ticket.settle()
    assert (one.done, two.done) == (Position(0, "0"), Position(1, "1"))
    await intake.forward(two, hub_event(2, "a", partition="1"))
    assert two.done == Position(2, "2")  # nothing to wait for any more


async def test_copies_within_one_hub_event_are_posted_once(autojump_clock: MockClock) -> None:
    intake, setups = make_intake()
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, hub_event(0, "a", "b", "a", "a"))
    items = take_all(setups["default"].channel)
    assert [item.event.audit_id for item in items] == ["a", "b"]
    for item in items:
        item.ticket.settle()
    assert ledger.done == Position(0, "0")


async def test_the_same_id_with_other_bytes_is_another_event(autojump_clock: MockClock) -> None:
    """A client picks the id; a harmless request must not hide another one."""
    intake, setups = make_intake()
    ledger = Ledger().claim("0", START_OF_STREAM)
    logs = [audit_event("a", verb=verb) for verb in ("get", "delete")]
    logs += [audit_event("a", stage) for stage in ("RequestReceived", "Panic")]
    await intake.forward(ledger, whole(0, *(record(log.decode()) for log in logs * 2)))
    assert [item.event.raw for item in take_all(setups["default"].channel)] == logs


async def test_the_same_bytes_from_two_clusters_are_two_events(autojump_clock: MockClock) -> None:
    intake, setups = make_intake()
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, whole(0, of_cluster("a", "id"), of_cluster("b", "id")))
    clusters = [item.event.cluster for item in take_all(setups["default"].channel)]
    assert clusters == ["a", "b"]


async def test_without_a_window_every_copy_is_posted(autojump_clock: MockClock) -> None:
    intake, setups = make_intake(events_config(dedup_window=0))
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, hub_event(0, "a", "a"))
    await intake.forward(ledger, hub_event(1, "a"))
    assert len(take_all(setups["default"].channel)) == 3


async def test_an_event_goes_the_way_of_its_route_and_a_copy_of_another_category_its_own(
    autojump_clock: MockClock,
) -> None:
    intake, setups = make_intake(events_config(routes=parse_routes(ROUTES)))
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(
        ledger,
        whole(
            0,
            of_cluster("prod-1", "p"),
            of_cluster("prod-1", "p", "kube-audit-admin"),  # the first route that fits
            of_cluster("test", "t"),
            of_cluster("test", "t", "kube-audit-admin"),
            record(audit_event("x").decode()),
        ),
    )
    ids = {
        name: [item.event.audit_id for item in waiting(setup.channel)]
        for name, setup in setups.items()
    }
    assert ids == {"prod": ["p"], "admin": ["t"], "default": ["t", "x"]}
    items = [item for setup in setups.values() for item in take_all(setup.channel)]
    for item in items[:-1]:
        item.ticket.settle()
        assert ledger.done == START_OF_STREAM
    items[-1].ticket.settle()
    assert ledger.done == Position(0, "0")


async def test_a_full_destination_keeps_back_only_what_needs_it(autojump_clock: MockClock) -> None:
    config = events_config(routes=parse_routes(ROUTES))
    intake, _ = make_intake(config, max_events=1)
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, whole(0, of_cluster("test", "full")))
    with trio.fail_after(1):
        await intake.forward(ledger, whole(1, of_cluster("prod-1", "a")))
        await intake.forward(ledger, whole(2, record(KLOG)))
    with trio.move_on_after(1) as blocked:
        await intake.forward(ledger, whole(3, record(audit_event().decode()[:-9])))
    assert blocked.cancelled_caught  # a dead letter needs room in the default destination
    assert ledger.seen == 2


async def test_a_held_event_keeps_back_no_other_destination_for_however_long(
    autojump_clock: MockClock,
) -> None:
    """No checkpoint passes it, but the events behind it take no memory once they are done."""
    config = events_config(routes=parse_routes(ROUTES))
    intake, setups = make_intake(config)
    healthy, sick = setups["default"], setups["prod"]
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, whole(0, of_cluster("prod-1", "held")))
    with trio.fail_after(1):
        for number in range(1, 20_001):
            name = "test" if number % 100 else "prod-1"
            await intake.forward(ledger, whole(number, of_cluster(name, f"id-{number}")))
            for item in take_all(healthy.channel):
                healthy.in_flight.settle([item], Outcome.DELIVERED)
    assert ledger.done == START_OF_STREAM
    held = take_all(sick.channel)
    assert len(held) == sick.in_flight.events == 201
    assert len(ledger._entries) <= COMPACT_MIN
    sick.in_flight.settle(held, Outcome.DELIVERED)
    assert ledger.done == Position(20_000, "20000")


async def test_copies_of_a_held_event_take_room_where_it_does(autojump_clock: MockClock) -> None:
    """Each of them keeps its hub event open, so they have to be bounded."""
    intake, setups = make_intake(events_config(routes=parse_routes(ROUTES)), max_events=3)
    healthy, sick = setups["default"].in_flight, setups["prod"].in_flight
    ledger = Ledger().claim("0", START_OF_STREAM)
    for number in range(3):
        await intake.forward(ledger, whole(number, of_cluster("prod-1", "held")))
    assert (sick.events, sick.bytes) == (3, len(audit_event("held")))
    with trio.move_on_after(1) as blocked:
        await intake.forward(ledger, whole(3, of_cluster("prod-1", "held")))
    assert blocked.cancelled_caught
    with trio.fail_after(1):
        await intake.forward(ledger, whole(3, of_cluster("test", "a")))
    sick.settle(take_all(setups["prod"].channel), Outcome.DELIVERED)
    assert (sick.events, sick.bytes, healthy.events) == (0, 0, 1)
    await sick.drained()
    assert ledger.done == Position(2, "2")


async def test_what_the_filter_drops_is_counted_and_done(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    config = events_config(filters=parse_filters("drop cluster=test\ndrop stage=Panic"))
    intake, setups = make_intake(config, metrics=metrics)
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(
        ledger,
        whole(
            0,
            of_cluster("test", "a"),
            of_cluster("prod", "b"),
            record(audit_event("c", "Panic").decode()),
        ),
    )
    (item,) = take_all(setups["default"].channel)
    assert item.event.audit_id == "b"
    assert metrics.intake.filtered._value.get() == 2
    assert kinds(metrics) == {
        ("test", "filtered"): 1,
        ("prod", "forwarded"): 1,
        ("", "filtered"): 1,
    }
    item.ticket.settle()
    assert ledger.done == Position(0, "0")


async def test_the_cluster_is_named_where_that_is_asked_for_and_falco_still_takes_the_event(
    autojump_clock: MockClock,
) -> None:
    intake, setups = make_intake(events_config(annotate_cluster=True))
    ledger = Ledger().claim("0", START_OF_STREAM)
    full = of_cluster("Prod", "full")
    full["properties"] = {"log": padded("full", 5000).decode()}
    await intake.forward(
        ledger, whole(0, of_cluster("Prod", "a"), record(audit_event("b").decode()), full)
    )
    named, other, large = (item.event.raw for item in take_all(setups["default"].channel))
    assert json.loads(named)["annotations"] == {"cluster_name": "prod"}
    assert other == audit_event("b")
    assert large == padded("full", 5000)
    assert setups["default"].letters.letters == []


async def test_a_hundred_clusters_have_metrics_of_their_own(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    intake, _ = make_intake(metrics=metrics)
    ledger = Ledger().claim("0", START_OF_STREAM)
    records = [of_cluster(f"c{number}", f"id-{number}") for number in range(150)]
    await intake.forward(ledger, whole(0, *records))
    await intake.forward(ledger, whole(1, *records))
    counts = kinds(metrics)
    assert counts["c0", "forwarded"] == counts["c99", "duplicate"] == 1
    assert counts["other", "forwarded"] == counts["other", "duplicate"] == 50
    assert len(counts) == 2 * 101


async def test_a_clusters_name_reaches_no_terminal_raw(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    intake, _ = make_intake(metrics=metrics)
    ledger = Ledger().claim("0", START_OF_STREAM)
    await intake.forward(ledger, whole(0, of_cluster("a\x1b[2J\x9b\u202e\nb", "id")))
    assert kinds(metrics) == {("a\\x1b[2j\\x9b\\u202e\\x0ab", "forwarded"): 1}
    assert metrics.render().isascii()


async def test_a_body_of_very_many_broken_lines_lets_others_have_their_turn(
    autojump_clock: MockClock,
) -> None:
    body = b"\n".join([b'{"kind":"Event"'] * 65_536)
    intake, setups = make_intake()
    ledger = Ledger().claim("0", START_OF_STREAM)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await intake.forward(ledger, HubEvent("0", Position(0, "0"), 0.0, body))
        nursery.cancel_scope.cancel()
    assert turns > 50
    (letter,) = setups["default"].letters.letters
    assert (letter.reason, letter.body) == ("broken-body", body)
    assert ledger.done == Position(0, "0")


async def test_a_hub_event_of_a_claim_that_ended_leaves_no_heartbeat_behind(
    autojump_clock: MockClock,
) -> None:
    """Nothing of it is to be forwarded, so it waits for no room, and is not committed either."""
    ledgers = Ledger()
    intake, _ = make_intake()
    ledger = ledgers.claim("0", START_OF_STREAM)
    ledgers.forget("0", ledger)
    await intake.forward(ledger, whole(0, record(KLOG)))
    await trio.sleep(1000)
    assert intake.heartbeat.overdue() is None
