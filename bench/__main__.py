"""Measure the forwarder: JSON lines, then a table with goals and verdicts.

python -m bench [--quick] [--binary dist/aks-audit-log] [PART …]
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from bench import measures
from bench.measures import QUICK, WHOLE, Row
from bench.rig import SOURCE

PARTS = {
    "throughput": measures.throughput,
    "scaling": measures.scaling,
    "latency": measures.latency,
    "memory": measures.memory,
    "start": measures.start,
}
ON_DEMAND = {"defaults": measures.defaults}
"""What is measured only where it is asked for."""


def machine() -> str:
    """What this runs on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}"


def report(row: Row) -> None:
    """A machine-readable line."""
    values = {"line": row.line, "value": round(row.value, 3), "unit": row.unit}
    if row.goal:
        values |= {"goal": row.goal, "met": bool(row.met)}
    print(json.dumps(values), flush=True)


def table(rows: list[Row]) -> str:
    """The table for people."""
    lines = [f"{'':58} {'value':>10} {'':9} {'goal':9} verdict"]
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        text = f"{row.line:58} {row.value:10,.1f} {row.unit:9} {row.goal:9} {verdict}"
        lines.append(text.rstrip())
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, once")
    parser.add_argument("--binary", type=Path, help="measure this executable as well")
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="all but the last if none: " + ", ".join({**PARTS, **ON_DEMAND}),
    )
    arguments = parser.parse_args()
    parts = {**PARTS, **ON_DEMAND}
    unknown = set(arguments.parts) - set(parts)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    programs = {"source": SOURCE}
    if arguments.binary:
        programs["binary"] = (str(arguments.binary.resolve(strict=True)),)
    began = time.monotonic()
    print(json.dumps({"machine": machine(), "quick": arguments.quick}), flush=True)
    rows = []
    for name in arguments.parts or PARTS:
        for row in parts[name](programs, QUICK if arguments.quick else WHOLE):
            report(row)
            rows.append(row)
    print(f"\n{machine()}; {time.monotonic() - began:.0f} s\n{table(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
