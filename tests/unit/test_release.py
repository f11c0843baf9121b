"""What docs/releasing.md promises to be checked."""

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from build.versions import VERSIONS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def texts(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in {".md", ".yaml", ".sh"}:
                yield file.relative_to(ROOT).as_posix(), file.read_text()


def test_the_version_is_the_same_everywhere() -> None:
    chart = (ROOT / "deploy/chart/Chart.yaml").read_text()
    dockerfile = (ROOT / "Dockerfile.distroless").read_text()
    assert re.findall(r"^version: (.+)$", chart, re.MULTILINE) == [VERSION]
    assert re.findall(r'^appVersion: "(.+)"$', chart, re.MULTILINE) == [VERSION]
    assert re.findall(r"^ARG VERSION=(.+)$", dockerfile, re.MULTILINE) == [VERSION]
    for manifest in ("base/deployment.yaml", "components/sidecar/sidecar.yaml"):
        text = (ROOT / "deploy/kubernetes" / manifest).read_text()
        assert re.findall(r"image: aks-audit-log:(\S+)", text) == [VERSION]


def test_every_image_that_is_named_is_of_the_version() -> None:
    named = [
        (file, tag)
        for file, text in [
            ("README.md", (ROOT / "README.md").read_text()),
            *texts("docs", "deploy"),
        ]
        for tag in re.findall(r"(?:\baks-audit-log:|newTag: )(\d[\w.-]*)", text)
    ]
    assert len(named) > 5
    assert [each for each in named if each[1] != VERSION] == []


def test_the_newest_section_of_the_changelog_is_that_of_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert first == "[Unreleased]"
    sections = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\S+)", each) for each in released]
    numbers, dates = [], []
    for section in sections:
        assert section is not None, released
        numbers.append(tuple(map(int, section.groups()[:3])))
        dates.append(date.fromisoformat(section[4]))
    assert ".".join(map(str, numbers[0])) == VERSION
    assert numbers == sorted(set(numbers), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_the_classifiers_name_pythons_that_can_be_tested() -> None:
    named = [
        version
        for classifier in PROJECT["classifiers"]
        for version in re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifier)
    ]
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"
    assert named == list(VERSIONS[: len(named)])
    assert named
