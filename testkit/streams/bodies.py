"""Small hub events with ids of the caller's choice; realistic ones come from `stream`."""

import json
from collections.abc import Iterable, Iterator

from testkit.streams.stream import Published

_STAGE = "ResponseComplete"


def audit_bodies(
    name: str, count: int, *, records: int = 1, partitions: int = 1, padding: int = 0
) -> Iterator[Published]:
    """Yield `count` hub events, over the partitions in turn, whose audit events begin with `name`.

    Ids are `<name>-<hub event>-<record>`; `padding` makes each audit event that many
    bytes longer.
    """
    for number in range(count):
        ids = [f"{name}-{number}-{record}" for record in range(records)]
        keys = tuple((audit_id, _STAGE) for audit_id in ids)
        yield Published(envelope(ids, padding=padding), number % partitions, keys)


def envelope(audit_ids: Iterable[str], *, padding: int = 0) -> bytes:
    """Return the body of a hub event with an audit event for each id."""
    records = [
        {
            "category": "kube-audit",
            "properties": {"log": json.dumps(_event(audit_id, padding)) + "\n"},
        }
        for audit_id in audit_ids
    ]
    return json.dumps({"records": records}).encode()


def _event(audit_id: str, padding: int) -> dict[str, object]:
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": audit_id,
        "stage": _STAGE,
        "requestURI": "/api/v1/pods?" + "x" * padding,
        "verb": "list",
        "user": {"username": "system:admin"},
        "requestReceivedTimestamp": "2026-03-01T08:00:00.000000Z",
        "stageTimestamp": "2026-03-01T08:00:00.100000Z",
    }
