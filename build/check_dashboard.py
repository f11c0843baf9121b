"""Compare the metrics that alerts and dashboard use with those that the forwarder serves.

Also writes the dashboard's expressions as rules, for promtool to parse.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FILES = Path(__file__).resolve().parent.parent / "deploy/chart/files"
METRIC = re.compile(r"\b(?:falco_)?aks_audit_log_[a-z_]+")
SAMPLE = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$namespace": ".*", "$pod": ".*"}


def expressions() -> Iterator[str]:
    """The dashboard's expressions, with Grafana's variables filled in."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            text: str = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            yield text


def served(scrape: str) -> set[str]:
    """The names of the series that follow from the types in a scrape."""
    names: set[str] = set()
    for name, kind in SAMPLE.findall(scrape):
        names |= (
            {f"{name}_{end}" for end in ("bucket", "count", "sum")}
            if kind == "histogram"
            else {name}
        )
    return names


def alerts() -> Iterator[str]:
    """The expressions of the alerts."""
    groups: Any = yaml.safe_load((FILES / "rules.yaml").read_text())["groups"]
    for group in groups:
        for rule in group["rules"]:
            yield rule["expr"]
            missing = {"summary", "description", "runbook"} - rule["annotations"].keys()
            if missing:
                sys.exit(f"alert {rule['alert']} lacks {', '.join(sorted(missing))}")


def main(scrape: str, rules: str) -> None:
    """Run the command line."""
    panels = list(expressions())
    asked = {name for text in (*panels, *alerts()) for name in METRIC.findall(text)}
    unknown = asked - served(Path(scrape).read_text())
    if unknown:
        sys.exit(f"the forwarder does not serve {', '.join(sorted(unknown))}")
    group = {
        "name": "dashboard",
        "rules": [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(panels)],
    }
    Path(rules).write_text(yaml.safe_dump({"groups": [group]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
