"""What docs/releasing.md promises to be checked."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = (ROOT / "deploy/chart/Chart.yaml").read_text()
    dockerfile = (ROOT / "Dockerfile.distroless").read_text()
    assert re.findall(r"^version: (.+)$", chart, re.MULTILINE) == [version]
    assert re.findall(r'^appVersion: "(.+)"$', chart, re.MULTILINE) == [version]
    assert re.findall(r"^ARG VERSION=(.+)$", dockerfile, re.MULTILINE) == [version]
    for manifest in ("base/deployment.yaml", "components/sidecar/sidecar.yaml"):
        text = (ROOT / "deploy/kubernetes" / manifest).read_text()
        assert re.findall(r"image: aks-audit-log:(\S+)", text) == [version]
