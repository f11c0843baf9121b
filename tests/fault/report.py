"""What the fault tests share: the line from which docs/delivery.md takes its figures."""

import os
from collections.abc import Callable

import pytest

from testkit.rig import Rig

long = pytest.mark.skipif(
    not os.environ.get("RUN_LONG"), reason="takes minutes: RUN_LONG=1 runs it, too"
)
"""Marks the long form of a test that has a shorter one."""


def report(record: Callable[[str, object], None], fault: str, rig: Rig, **figures: object) -> None:
    """Assert that nothing was lost, and say what came twice; read it with `pytest -rP`."""
    rig.account.check(duplicates_at_most=rig.account.duplicates)
    known = {
        "published": len(rig.account.published),
        "delivered": rig.falco.received.unique,
        "lost": len(rig.account.lost),
        "duplicates": rig.account.duplicates,
        **figures,
    }
    record(fault, known)
    print(f"fault: {fault}:", ", ".join(f"{name} {value}" for name, value in known.items()))  # noqa: T201
