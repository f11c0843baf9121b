"""Write or check the table of values in the chart's README, from the comments in values.yaml.

A value is documented by a comment that begins with ``# --`` on its own line, or on the line of
the mapping, if the mapping is documented as a whole. Every value needs a comment, and an entry in
the schema.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "deploy/chart"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
KEY = re.compile(r"^( *)([A-Za-z]+):(.*)$")
DOC = re.compile(r"# -- (.+)$")
WIDE = 60
"""Characters. The table does not show a default that is longer."""


def documented(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The paths of the documented values, in their order, with their comments."""
    path: list[str] = []
    for line in text.splitlines():
        key = KEY.match(line)
        if key is None:
            continue
        depth = len(key[1]) // 2
        path[depth:] = [key[2]]
        doc = DOC.search(line)
        if doc is not None:
            yield tuple(path), doc[1]


def leaves(value: Any, known: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths of the values without a comment."""
    if path in known:
        return
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, known, (*path, name))
    else:
        yield ".".join(path)


def lookup(values: Any, path: tuple[str, ...]) -> Any:
    """The default of a value."""
    for name in path:
        values = values[name]
    return values


def in_schema(schema: Any, path: tuple[str, ...]) -> bool:
    """Whether the schema names this value."""
    for name in path:
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return False
    return True


def table() -> str:
    """The table. Raises SystemExit with the values that lack a comment or a schema."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    schema = json.loads((CHART / "values.schema.json").read_text())
    rows = dict(documented(text))
    silent = list(leaves(values, set(rows)))
    if silent:
        sys.exit(f"values.yaml has no comment for {', '.join(silent)}")
    unknown = [".".join(path) for path in rows if not in_schema(schema, path)]
    if unknown:
        sys.exit(f"values.schema.json does not have {', '.join(unknown)}")
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, doc in rows.items():
        default = json.dumps(lookup(values, path), ensure_ascii=False)
        shown = f"`{default}`" if len(default) <= WIDE else "see `values.yaml`"
        lines.append(f"| `{'.'.join(path)}` | {shown} | {doc} |")
    return "\n".join(lines)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table")
    arguments = parser.parse_args()
    readme = CHART / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    fresh = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if arguments.write:
        readme.write_text(fresh)
    elif fresh != text:
        print(
            "deploy/chart/README.md differs from values.yaml: run build/chart_docs.py --write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
