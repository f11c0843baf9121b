"""The demo's hold on the forwarder's process, with stand-ins for the process."""

import os
import sys
from pathlib import Path

import pytest
import trio

from demo import forwarder
from demo.errors import DemoError
from demo.forwarder import Forwarder

SETTINGS = {"STATSADDRESS": "127.0.0.1:1"}
"""Nothing listens there: the port is privileged."""

ENDLESS = "import signal; print('started', flush=True); signal.pause()"


async def start(nursery: trio.Nursery, tmp_path: Path, code: str = ENDLESS) -> Forwarder:
    command = [sys.executable, "-c", code]
    return await forwarder.start(nursery, SETTINGS, tmp_path / "log", command)


async def test_a_forwarder_that_ends_at_once_is_told(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        running = await start(nursery, tmp_path, "import sys; print('boom'); sys.exit(3)")
        with pytest.raises(DemoError, match="ended with status 3"):
            await running.ready()
        nursery.cancel_scope.cancel()
    assert (tmp_path / "log").read_text() == "boom\n"


async def test_metrics_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        running = await start(nursery, tmp_path)
        with pytest.raises(DemoError, match="cannot be read"):
            await running.counts()
        nursery.cancel_scope.cancel()


async def test_stopping_returns_the_exit_status(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        running = await start(nursery, tmp_path)
        assert await running.stop() == -15


async def test_a_forwarder_is_ended_with_its_nursery(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        running = await start(nursery, tmp_path)
        running.check()
        nursery.cancel_scope.cancel()


def test_the_environment_is_the_demos_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOBSTORAGECONNECTIONSTRING", "a developer's own")
    monkeypatch.setenv("POSTEXHAUSTED", "drop")
    settings = forwarder.environment("Endpoint=…", "hub", "http://falco/k8s-audit", tmp_path)
    assert settings["PATH"] == os.environ["PATH"]
    assert settings["CHECKPOINTFILE"].startswith(str(tmp_path))
    assert settings.keys().isdisjoint({"BLOBSTORAGECONNECTIONSTRING", "POSTEXHAUSTED"})
