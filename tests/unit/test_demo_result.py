import io
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console

from demo.counts import Counts, counts_of
from demo.result import Result, compare
from demo.show import Moment, progress, summary
from testkit.rig import Scrape
from testkit.streams import not_audit
from testkit.streams.expected import REASONS, expected_skips
from testkit.streams.stream import Expected

A, B, C = ("a", "Panic"), ("b", "Panic"), ("c", "Panic")
EXPECTED = Expected(
    audit=(A, B),
    skipped={"klog": 2, "odd-log": 1},
    malformed={"text": 1},
    clusters={"prod": 2},
    cut=1,
    copies=2,
    hub_events=3,
    body_bytes=100,
)
SKIPPED = {"klog": 3, "broken-body": 1}
COUNTS = Counts(
    skipped=SKIPPED, dead_letters={"broken-body": 1}, clusters={"prod": 2}, salvaged=1, copies=2
)


def result(
    receipts: Mapping[tuple[str, str], int],
    *,
    counts: Counts = COUNTS,
    dropped: int = 0,
    exit_status: int = 0,
) -> Result:
    return compare(
        EXPECTED,
        receipts,
        counts,
        dropped=dropped,
        exit_status=exit_status,
        sent_at={A: 10.0, B: 11.0},
        first_seen=dict.fromkeys(receipts, 12.0),
    )


def test_all_is_well() -> None:
    good = result({A: 1, B: 2})
    assert good.problems == []
    assert (good.delivered, good.lost, good.duplicates) == (2, 0, 1)
    assert good.latencies == [1.0, 2.0]
    assert (good.latency(0.0), good.latency(1.0), good.rate) == (1.0, 2.0, 1.0)


def test_a_lost_event_is_a_problem() -> None:
    assert result({A: 5}).problems == ["1 events lost"]


def test_nothing_at_all_arrived() -> None:
    nothing = result({})
    assert (nothing.lost, nothing.rate, nothing.latency(0.5)) == (2, 0.0, 0.0)


def test_events_that_were_never_published_are_a_problem() -> None:
    assert result({A: 1, B: 1, C: 1}).problems == ["1 events that were never published"]


def test_what_falco_would_drop_is_a_problem() -> None:
    assert result({A: 1, B: 1}, dropped=2).problems == [
        "2 bodies or events that Falco would drop",
    ]


def test_the_forwarders_exit_status_is_a_problem() -> None:
    assert result({A: 1, B: 1}, exit_status=-9).problems == ["the forwarder ended with status -9"]


def test_counts_that_differ_from_what_is_expected_are_a_problem() -> None:
    counts = Counts(skipped={"klog": 3, "empty": 1}, clusters={"prod": 1, "test": 1}, salvaged=1)
    assert result({A: 1, B: 1}, counts=counts).problems == [
        "copies removed: 0 instead of 2",
        "skipped as broken-body: 0 instead of 1",
        "skipped as empty: 1 instead of 0",
        "dead letters for broken-body: 0 instead of 1",
        "events of prod: 1 instead of 2",
        "events of test: 1 instead of 0",
    ]


def test_every_kind_that_is_skipped_has_a_reason() -> None:
    assert REASONS.keys() == not_audit.RECORDS.keys() | not_audit.BODIES.keys() | {"cut"}
    assert expected_skips(EXPECTED) == SKIPPED


def test_the_metrics_are_read() -> None:
    text = """
# TYPE aks_audit_log_records_skipped counter
aks_audit_log_records_skipped_total{reason="klog"} 3
aks_audit_log_records_skipped_total{reason="empty"} 4
# TYPE aks_audit_log_dead_letters counter
aks_audit_log_dead_letters_total{reason="cut-body"} 2
# TYPE aks_audit_log_events_salvaged counter
aks_audit_log_events_salvaged_total 8
# TYPE aks_audit_log_events_duplicate counter
aks_audit_log_events_duplicate_total 9
# TYPE aks_audit_log_cluster_events counter
aks_audit_log_cluster_events_total{cluster="prod",kind="forwarded"} 6
aks_audit_log_cluster_events_total{cluster="prod",kind="duplicate"} 9
aks_audit_log_cluster_events_total{cluster="",kind="forwarded"} 1
# TYPE aks_audit_log_inflight_events gauge
aks_audit_log_inflight_events 5
"""
    counts = counts_of(Scrape(text))
    assert counts == Counts(
        skipped={"klog": 3, "empty": 4},
        dead_letters={"cut-body": 2},
        clusters={"prod": 6, "": 1},
        salvaged=8,
        copies=9,
        in_flight=5,
    )
    assert counts.skipped_total == 7


def test_the_summary_ends_with_the_verdict() -> None:
    output = io.StringIO()
    summary(Console(file=output, width=100), replace(result({A: 1}), lost=1))
    assert output.getvalue().splitlines()[-3:] == [
        "problem: 1 events lost",
        "duplicates 0",
        "lost 1",
    ]


def test_progress_is_a_line_where_there_is_no_terminal() -> None:
    output = io.StringIO()
    moment = Moment(published=1234, delivered=1000, skipped=5, in_flight=6, rate=99.6)
    with progress(Console(file=output)) as show:
        show(moment)
        show(moment)
    assert output.getvalue() == (
        "published 1,234  delivered 1,000  skipped 5  in flight 6  events/s 100\n"
    )


def test_progress_is_a_table_on_a_terminal() -> None:
    output = io.StringIO()
    with progress(Console(file=output, force_terminal=True, width=100)) as show:
        show(Moment(published=1234, delivered=1000, skipped=5, in_flight=6, rate=99.6))
    assert "in flight" in output.getvalue()
    assert "1,234" in output.getvalue()
