import pytest

from aks_audit.config.routes import DEFAULT, parse
from aks_audit.delivery.router import Router
from aks_audit.model import AuditEvent

ROUTES = parse("""
[[route]]
name = "prod"
cluster = "Prod-*"
category = "kube-audit*"
url = "http://falco.prod/k8s-audit"

[[route]]
cluster = "prod-eu"
url = "https://falco.eu/k8s-audit"

[[route]]
name = "scaling"
category = "cluster-autoscaler"
url = "http://falco.x/"
""")


def event(cluster: str, category: str, audit_id: str = "a") -> AuditEvent:
    return AuditEvent(b"{}", audit_id, "", cluster, category)


@pytest.mark.parametrize(
    ("cluster", "category", "name"),
    [
        ("prod-eu", "kube-audit", "prod"),
        ("prod-eu", "kube-audit-admin", "prod"),
        ("prod-eu", "guard", "route-2"),
        ("prod-us", "guard", DEFAULT),
        ("prod", "kube-audit", DEFAULT),
        ("test", "cluster-autoscaler", "scaling"),
        ("", "cluster-autoscaler", "scaling"),
        ("", "", DEFAULT),
    ],
)
def test_the_first_route_that_matches_decides(cluster: str, category: str, name: str) -> None:
    assert Router(ROUTES).route(event(cluster, category)) == name


def test_events_are_sorted_by_route_and_stay_in_order() -> None:
    events = [
        event("prod-eu", "kube-audit", "1"),
        event("test", "kube-audit", "2"),
        event("prod-us", "kube-audit", "3"),
        event("test", "guard", "4"),
    ]
    assert Router(ROUTES).sort(events) == {
        "prod": [events[0], events[2]],
        DEFAULT: [events[1], events[3]],
    }


def test_without_routes_everything_goes_to_the_default() -> None:
    events = [event("prod", "x")]
    assert Router(()).route(events[0]) == DEFAULT
    assert Router(()).sort(events) == {DEFAULT: events}
    assert Router(()).sort([]) == {}
