"""What the documents name is there: files, folders, targets of the Makefile, links."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "bench/README.md",
    *(file.relative_to(ROOT).as_posix() for file in sorted((ROOT / "docs").glob("*.md"))),
    *(file.relative_to(ROOT).as_posix() for file in sorted((ROOT / "deploy").rglob("*.md"))),
]
FOLDERS = "aks_audit|bench|build|demo|deploy|docs|emulator|testkit|tests"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_paths_of_a_document_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_of_a_document_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    named = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    folder = (ROOT / document).parent
    files = [link for link in named if link and "://" not in link]
    assert [link for link in files if not (folder / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_targets_of_a_document_are_in_the_makefile(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"(?:^|`|=\S* )make\s+([a-z][a-z-]*)", text, re.MULTILINE)
    assert [target for target in named if target not in TARGETS] == []


def test_the_dashboard_to_import_is_a_dashboard() -> None:
    assert json.loads((ROOT / "deploy/dashboards/aks-audit-log.json").read_text())["panels"]
