"""The examples of docs/events.md are what the program takes and does."""

import json
import re
from pathlib import Path

from aks_audit.audit import filters
from aks_audit.audit.annotate import annotate
from aks_audit.audit.salvage import salvage
from aks_audit.config import routes

TEXT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def test_the_example_of_a_cut_event_is_what_becomes_of_it() -> None:
    came, posted, *_ = (text.replace("\n", "") for text in blocks(""))
    time = json.loads(posted)["stageTimestamp"]
    assert salvage(came.encode(), time).decode() == posted


def test_the_example_of_a_name_is_what_becomes_of_it() -> None:
    before, after = next(text for text in blocks("") if "cluster_name" in text).splitlines()
    assert annotate(before.replace("…,", "{").encode(), "prod-1").decode() == after.replace(
        "…,", "{"
    )


def test_the_examples_of_filters_and_routes_can_be_read() -> None:
    (rules,) = (text for text in blocks("") if text.startswith("#"))
    assert [rule.drop for rule in filters.parse(rules).rules] == [True, False, True]
    (table,) = blocks("toml")
    assert [route.name for route in routes.parse(table)] == ["prod", "test"]
