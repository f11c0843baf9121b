"""What the forwarder has to count for a stream: records skipped and dead letters, by reason."""

from collections import Counter

from testkit.streams.stream import Truth

REASONS = {
    "klog": "klog",
    "odd-log": "klog",
    "json-log": "not-audit",
    "timeless-audit": "broken-audit",
    "stump": "broken-audit",
    "empty-log": "empty",
    "blank": "empty",
    "no-log": "no-log",
    "odd-record": "broken-record",
    "foreign": "not-envelope",
    "cut": "cut-body",
    "text": "broken-body",
    "binary": "broken-body",
}
"""Under which reason the forwarder counts each kind of noise and of malformed body."""
DEAD = {"broken-audit", "broken-record", "not-envelope", "cut-body", "broken-body"}
"""What may hide an audit event, and so becomes a dead letter."""


def expected_skips(truth: Truth) -> Counter[str]:
    """Tell how many records, and malformed bodies, the forwarder has to count by reason."""
    reasons: Counter[str] = Counter()
    for kind, count in (*truth.skipped.items(), *truth.malformed.items()):
        reasons[REASONS[kind]] += count
    return reasons


def expected_letters(truth: Truth) -> Counter[str]:
    """Tell how many dead letters the forwarder has to keep by reason."""
    return Counter({reason: n for reason, n in expected_skips(truth).items() if reason in DEAD})
