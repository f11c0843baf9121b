"""SIGTERM at any moment from the first import on ends the process with 0."""

import signal
import sys
from pathlib import Path

import pytest

from testkit.rig import Forwarder, Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance
from tests.package.contained import as_pid_1, cannot, first_process

HOOK = """
import os, signal, sys

class Stage:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["SIGNAL_AT"]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGTERM)
        return None

sys.meta_path.insert(0, Stage())
"""
"""Python imports this before the program: it sends the signal at the import of a module."""

STAGES = [
    "click",
    "trio",
    "aks_audit.config.load",
    "structlog",
    "aks_audit.app",
    "azure.eventhub",
    "hypercorn",
]
"""Modules that the program imports on its way, in this order."""


@pytest.fixture
def hook(tmp_path: Path) -> str:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    return str(tmp_path)


def program(*, first: bool) -> list[str]:
    """The command, as the first process of a namespace if asked for."""
    if first and (why := cannot()):
        pytest.skip(why)
    return [*(as_pid_1(sys.executable) if first else [sys.executable]), "-m", "aks_audit"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("first", [False, True], ids=["process", "PID 1"])
def test_during_the_imports(rig: Rig, hook: str, stage: str, *, first: bool) -> None:
    environment = rig.environment({"PYTHONPATH": hook, "SIGNAL_AT": stage})
    with Forwarder(environment, program=program(first=first)) as forwarder:
        assert forwarder.wait() == 0
        assert not forwarder.stray()
        assert not forwarder.log("serving")
    assert not rig.owners()


@pytest.mark.parametrize("first", [False, True], ids=["process", "PID 1"])
@pytest.mark.parametrize("silent", [False, True], ids=["hub away", "hub silent"])
def test_while_it_connects(rig: Rig, balance: Balance, *, first: bool, silent: bool) -> None:
    rig.publish(audit_bodies("waiting", 8, partitions=4))
    if silent:
        rig.emulator.faults.silence()
    else:
        rig.emulator.faults.stop()
    with Forwarder(rig.environment(), program=program(first=first)) as forwarder:
        forwarder.wait_for_log("serving")
        forwarder.wait_until_unready("source", "connecting" if silent else "Connect call failed")
        if first:
            first_process(forwarder.pid).send_signal(signal.SIGTERM)
        else:
            forwarder.terminate()
        assert forwarder.wait() == 0
        assert forwarder.log("stopped")
    if silent:
        rig.emulator.faults.recover()
    else:
        rig.emulator.faults.start()
    with rig.forwarder() as forwarder:
        balance.wait()
        assert forwarder.stop() == 0
    balance.check()


def test_a_command_that_is_ended_does_not_say_that_it_is_done(rig: Rig, hook: str) -> None:
    environment = rig.environment(
        {"PYTHONPATH": hook, "SIGNAL_AT": "aks_audit.commands.deadletters"}
    )
    with Forwarder(environment, "deadletters") as command:
        assert command.wait() == -signal.SIGTERM
