"""Fuzz the unpacking with atheris: `make fuzz`, with SECONDS=600 for longer.

Coverage guides it through the branches, from a corpus of believable and of hostile bodies. It looks
for an exception, and for an event that Falco would not take.
"""

import sys
from itertools import islice
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["aks_audit"]):
    from aks_audit.audit.annotate import annotate
    from aks_audit.audit.unpack import unpack
    from aks_audit.model import FAULTS

from testkit.falco.rules import Accepted, apply_rules
from testkit.streams.stream import Stream
from tests.hostile import HOSTILE

RECEIVED = "2026-03-01T10:00:00Z"
MAX_EVENT_BYTES = 262_144


def check(body: bytes) -> None:
    """Assert what holds for whatever bytes there are."""
    events, skipped = unpack(body, received=RECEIVED)
    for skip in skipped:
        assert skip.raw or skip.reason not in FAULTS or not body
    raws = [each.raw for each in events if len(each.raw) <= MAX_EVENT_BYTES]
    raws += [annotate(raw, "prod") for raw in raws]
    if not raws:
        return
    verdicts = apply_rules(b'{"kind":"EventList","items":[' + b",".join(raws) + b"]}")
    assert len(verdicts) == len(raws)
    for verdict in verdicts:
        assert isinstance(verdict, Accepted) or "larger" in verdict.reason, verdict


def write_corpus(directory: Path) -> None:
    """Write what to begin with, beside what earlier runs have found."""
    directory.mkdir(parents=True, exist_ok=True)
    stream = Stream(records=(1, 3), malformed=0.2, odd=0.2).bodies()
    bodies = [published.body for published in islice(stream, 100)]
    bodies += [body[: number * 100] for number, body in enumerate(bodies)]
    bodies += [make(500) for make in HOSTILE.values()]
    for number, body in enumerate(bodies):
        (directory / f"seed-{number}").write_bytes(body)


def main(corpus: str, *options: str) -> None:
    """Fuzz with libFuzzer's options."""
    write_corpus(Path(corpus))
    atheris.Setup([sys.argv[0], *options, "-max_len=8192", "-timeout=10", corpus], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
