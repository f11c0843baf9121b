"""The demo's hold on the forwarder's process, with stand-ins for the process."""

import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from demo import forwarder
from demo.errors import DemoError
from demo.forwarder import Forwarder

SERVING = '{"msg": "serving", "metrics": "http://127.0.0.1:1/metrics"}'
"""Nothing listens there: the port is privileged."""

ENDLESS = f"import signal, sys; print({SERVING!r}, file=sys.stderr, flush=True); signal.pause()"


def start(tmp_path: Path, code: str = ENDLESS) -> AbstractAsyncContextManager[Forwarder]:
    return forwarder.start({}, tmp_path / "log", [sys.executable, "-c", code])


async def test_a_forwarder_that_ends_at_once_is_told(tmp_path: Path) -> None:
    async with start(
        tmp_path, "import sys; print('boom', file=sys.stderr); sys.exit(3)"
    ) as running:
        with pytest.raises(DemoError, match="ended with status 3"):
            await running.ready()
    assert (tmp_path / "log").read_text() == "boom"


async def test_metrics_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    async with start(tmp_path) as running:
        with pytest.raises(DemoError, match="cannot be read"):
            await running.counts()


async def test_stopping_returns_the_exit_status(tmp_path: Path) -> None:
    async with start(tmp_path) as running:
        assert await running.stop() == -15


async def test_a_forwarder_is_ended_when_the_block_is_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with start(tmp_path) as running:
            running.check()
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(DemoError, match="ended with status -15"):
        running.check()


def test_the_environment_is_the_demos_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOBSTORAGECONNECTIONSTRING", "a developer's own")
    monkeypatch.setenv("POSTEXHAUSTED", "drop")
    settings = forwarder.environment("Endpoint=…", "hub", "http://falco/k8s-audit", tmp_path)
    assert settings["PATH"] == os.environ["PATH"]
    assert settings["CHECKPOINTFILE"].startswith(str(tmp_path))
    assert settings.keys().isdisjoint({"BLOBSTORAGECONNECTIONSTRING", "POSTEXHAUSTED"})
