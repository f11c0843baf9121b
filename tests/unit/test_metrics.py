import pytest
from prometheus_client.parser import text_string_to_metric_families

from aks_audit.ops.metrics import PREFIX, LegacyCounter, Metrics

LEGACY = [
    "falco_aks_audit_log_events",
    "falco_aks_audit_log_events_success",
    "falco_aks_audit_log_events_errors",
    "falco_aks_audit_log_events_retry",
]


def samples(metrics: Metrics) -> dict[str, float]:
    """The samples without labels, by name."""
    text = metrics.render().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_the_four_legacy_counters_keep_their_exact_names() -> None:
    metrics = Metrics()
    metrics.posts.events.inc(10)
    metrics.outcomes.success.inc(7)
    metrics.outcomes.errors.inc()
    metrics.posts.retry.inc(2)
    text = metrics.render().decode()
    for name, value in zip(LEGACY, (10, 7, 1, 2), strict=True):
        assert f"\n# TYPE {name} counter\n{name} {value}\n" in f"\n{text}"
        assert f"{name}_total" not in text
        assert f"{name}_created" not in text
        assert samples(metrics)[f"{name}_total"] == value  # the parser makes it OpenMetrics


def test_the_legacy_counters_are_there_from_the_start() -> None:
    found = samples(Metrics())
    assert [found[f"{name}_total"] for name in LEGACY] == [0, 0, 0, 0]


def test_the_whole_exposition_parses_and_every_family_has_help_and_type() -> None:
    metrics = Metrics()
    families = list(text_string_to_metric_families(metrics.render().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        assert family.name.startswith((PREFIX, "falco_aks_audit_log_events"))


def test_every_line_of_the_exposition_belongs_to_a_family() -> None:
    metrics = Metrics()
    metrics.intake.hub_events.labels("0").inc()
    metrics.posts.by_status.labels("200").inc()
    text = metrics.render().decode()
    assert text.endswith("\n")
    assert text.isascii()
    declared = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ", *declared))


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    label = 'a"b\\c\nd'
    metrics.posts.by_status.labels(label).inc(3)
    found = {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if family.name == f"{PREFIX}_posts"
    }
    assert found == {label: 3}


@pytest.mark.parametrize(
    ("group", "name"),
    [("posts", "post_seconds"), ("posts", "batch_events"), ("outcomes", "delay_seconds")],
)
def test_histograms_count_what_they_observe(group: str, name: str) -> None:
    metrics = Metrics()
    histogram = getattr(getattr(metrics, group), name)
    histogram.observe(3)
    histogram.observe(1e9)
    found = samples(metrics)
    assert found[f"{PREFIX}_{name}_count"] == 2
    assert found[f"{PREFIX}_{name}_sum"] == 1e9 + 3


def test_two_sets_of_metrics_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.posts.events.inc()
    first.posts.by_status.labels("200").inc()
    assert second.posts.events.value == 0
    assert b'status="200"' not in second.render()


def test_a_legacy_counter_renders_itself() -> None:
    counter = LegacyCounter("name", "What it counts.")
    counter.inc()
    counter.inc(41)
    assert counter.render() == "# HELP name What it counts.\n# TYPE name counter\nname 42\n"
