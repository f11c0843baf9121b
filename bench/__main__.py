"""Measure the forwarder: JSON lines, then a table with the goals and whether they are met.

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
from bench.rig import SOURCE
from bench.rows import QUICK, WHOLE, Row

PARTS = {
    "throughput": measures.throughput,
    "scaling": measures.scaling,
    "latency": measures.latency,
    "memory": measures.memory,
    "start": measures.start,
    "partitions": measures.partitions,
}
ON_DEMAND = {"defaults": measures.defaults}
"""What is measured only on request."""


def machine() -> str:
    """Return what this runs on: cores, processor, Python."""
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
    """Print a row as a line of JSON."""
    values = {"line": row.line, "value": round(row.value, 3), "unit": row.unit}
    if row.goal:
        values |= {"goal": row.goal, "met": bool(row.met)}
    print(json.dumps(values), flush=True)


def table(rows: list[Row]) -> str:
    """Return the table for people."""
    lines = [f"{'':58} {'value':>10} {'':9} {'goal':9} result"]
    for row in rows:
        result = {True: "met", False: "MISSED", None: ""}[row.met]
        text = f"{row.line:58} {row.value:10,.1f} {row.unit:9} {row.goal:9} {result}"
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
