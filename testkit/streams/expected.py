"""What the forwarder has to count for a stream: records skipped and dead letters, by reason."""

from collections import Counter

from testkit.streams.stream import Expected

REASONS = {
    "klog": "klog",
    "odd-log": "klog",
    "json-log": "not-audit",
    "timeless-audit": "broken-audit",
    "fragment": "broken-audit",
    "empty-log": "empty",
    "blank": "empty",
    "no-log": "no-log",
    "odd-record": "broken-record",
    "foreign": "not-envelope",
    "cut": "cut-body",
    "text": "broken-body",
    "binary": "broken-body",
}
"""The reason under which the forwarder counts each kind of record and of malformed body."""
DEAD = {"broken-audit", "broken-record", "not-envelope", "cut-body", "broken-body"}
"""What may contain an audit event, and therefore becomes a dead letter."""


def expected_skips(total: Expected) -> Counter[str]:
    """Return how many records, and malformed bodies, the forwarder has to count by reason."""
    reasons: Counter[str] = Counter()
    for kind, count in (*total.skipped.items(), *total.malformed.items()):
        reasons[REASONS[kind]] += count
    return reasons


def expected_letters(total: Expected) -> Counter[str]:
    """Return how many dead letters the forwarder has to keep by reason."""
    return Counter({reason: n for reason, n in expected_skips(total).items() if reason in DEAD})
