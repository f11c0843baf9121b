"""The demo and the stand-in as processes, as people and scripts run them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from testkit.rig import DEADLINE_S

ROOT = Path(__file__).parents[2]
EVENT = b'{"kind":"Event","auditID":"a","stage":"Panic","stageTimestamp":"2026-03-01T10:00:00Z"}'
JSON = {"Content-Type": "application/json"}


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def demo(*options: str) -> tuple[int, list[str]]:
    with process("demo", *options) as running:
        output, _ = running.communicate()
    return running.returncode, output.splitlines()


def test_the_demo_loses_nothing() -> None:
    status, lines = demo("--events", "2000", "--seconds", "1", "--deadline", "180")
    assert lines[-1] == "lost 0", "\n".join(lines)
    assert status == 0, "\n".join(lines)
    assert sum("(as published)" in line for line in lines) >= 6


def test_the_demo_fails_when_events_are_missing() -> None:
    status, lines = demo("--events", "300", "--deadline", "0.01")
    assert status == 1
    assert any(line.startswith("problem: ") and line.endswith(" events lost") for line in lines)
    assert "the forwarder's log ends with:" in lines


def test_the_demo_can_be_interrupted() -> None:
    with process("demo", "--seconds", "600") as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate()
    assert first.startswith("published ")
    assert rest.splitlines()[-1] == "interrupted"
    assert running.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_stand_in_is_a_process_of_its_own(tmp_path: Path, number: signal.Signals) -> None:
    stats = tmp_path / "stats.json"
    options = ("--port", "0", "--script", "503", "--stats-file", str(stats))
    with process("testkit.falco", *options) as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[-1]
        answers = [
            httpx.post(url, content=EVENT, headers=JSON, timeout=DEADLINE_S).status_code
            for _ in range(3)
        ]
        running.send_signal(number)
        rest, _ = running.communicate()
    assert answers == [503, 200, 200]
    assert running.returncode == 0
    counts = json.loads(rest)
    assert counts == json.loads(stats.read_text())
    assert (counts["events"], counts["duplicates"]) == (2, 1)


def test_the_stand_in_can_count_only() -> None:
    with process("testkit.falco", "--port", "0", "--count-only", "--path", "/k8s_audit") as running:
        assert running.stdout is not None
        url = running.stdout.readline().split()[-1]
        assert httpx.post(url, content=EVENT, headers=JSON, timeout=DEADLINE_S).status_code == 200
        running.terminate()
        rest, _ = running.communicate()
    assert json.loads(rest)["events"] == 1
    assert json.loads(rest)["unique"] == 0
