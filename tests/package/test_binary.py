import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.rig import HUB, Azurite, Forwarder, Rig, Store, eventually, open_rig
from testkit.rig.rig import GROUP
from testkit.streams.stream import Stream
from tests.package.authority import make_certificate, tls_front
from tests.package.contained import as_pid_1, cannot, first_process, noexec_tmpfs

contained = pytest.mark.skipif(cannot() is not None, reason=str(cannot()))
ROOT = Path(__file__).parents[2]
AMQPS = 5671
"""Where the SDK looks for a hub with TLS, whatever port the connection string names."""


@pytest.fixture
def temp(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield str(folder)
    assert list(folder.iterdir()) == [], "the executable leaves nothing behind"


def run(binary: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_the_version_says_what_it_was_built_from(binary: str) -> None:
    said = run(binary, "--version").stdout
    assert re.fullmatch(
        r"aks-audit-log \d+\.\d+\.\d+ \(commit [0-9a-f]{12}(-modified)?,"
        r" Python 3\.\d+\.\d+, azure-eventhub 5\.\d+\.\d+\)\n",
        said,
    )


@pytest.mark.parametrize("command", [(), ("replay",), ("deadletters",), ("healthcheck",)])
def test_every_command_has_its_help(binary: str, command: tuple[str, ...]) -> None:
    done = run(binary, *command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5, done.stdout


def test_the_whole_path(binary: str, rig: Rig, temp: str) -> None:
    rig.publish(Stream(seed=3).take(2000))
    with Forwarder(rig.environment({"TMPDIR": temp}), program=[binary]) as forwarder:
        rig.account.wait()
        rig.account.check()
        assert forwarder.stop() == 0
    assert rig.checkpoints() == rig.last_sequence_numbers()


def test_the_commands_on_dead_letters(binary: str, rig: Rig, temp: str) -> None:
    rig.falco.faults.reject("POISON")
    (poisoned,) = Stream(seed=1, malformed=0).take(1)
    rig.publish([poisoned])
    marker = poisoned.audit[0][0]
    rig.falco.faults.clear()
    rig.falco.faults.reject(marker)
    environment = rig.environment({"TMPDIR": temp})
    with Forwarder(environment, program=[binary]) as forwarder:
        forwarder.wait_until(lambda scrape: scrape.total("aks_audit_log_dead_letters_total"))
        assert forwarder.stop() == 0
    assert marker in run(binary, "deadletters", **environment).stdout
    rig.falco.faults.clear()
    assert run(binary, "replay", **environment).returncode == 0
    assert run(binary, "deadletters", "--summary", **environment).stdout == "0 dead letters\n"
    assert not rig.account.lost


def test_healthcheck(binary: str, rig: Rig, temp: str) -> None:
    environment = rig.environment({"TMPDIR": temp})
    with Forwarder(environment, program=[binary]) as forwarder:
        forwarder.wait_until_ready()
        address = str(forwarder.log("serving")[0]["metrics"]).split("/")[2]
        asking = {**environment, "STATSADDRESS": address}
        assert run(binary, "healthcheck", **asking).returncode == 0
        assert run(binary, "healthcheck", "--live", **asking).returncode == 0
        assert forwarder.stop() == 0
    gone = run(binary, "healthcheck", **asking)
    assert (gone.returncode, "no answer from" in gone.stderr) == (1, True)


def test_a_wrong_configuration_ends_with_status_2(binary: str) -> None:
    done = run(binary, POSTMAXRETRIES="many")
    assert done.returncode == 2
    for variable in ("EHUBNAMESPACECONNECTIONSTRING", "WEBSINKURL", "POSTMAXRETRIES"):
        assert variable in done.stderr


def test_the_example_sourced_says_what_is_missing(binary: str) -> None:
    command = f". {shlex.quote(str(ROOT / '.envrc.example'))} && exec {shlex.quote(binary)}"
    done = subprocess.run(
        ["bash", "-c", command], env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "still holds the example's placeholder" in done.stderr


def test_a_stats_address_in_use_ends_with_status_1(binary: str, rig: Rig, temp: str) -> None:
    taken = f"127.0.0.1:{rig.falco.port}"
    done = run(binary, **rig.environment({"STATSADDRESS": taken, "TMPDIR": temp}))
    assert done.returncode == 1
    assert "STATSADDRESS" in done.stderr


def test_a_private_authority(binary: str, rig: Rig, temp: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    rig.publish(Stream(seed=4, malformed=0).take(50))
    with tls_front(rig.falco.port, certificate, key) as port:
        url = rig.falco.url.replace("http:", "https:").replace(str(rig.falco.port), str(port))
        settings: dict[str, str | None] = {"WEBSINKURL": url, "TMPDIR": temp}
        with Forwarder(rig.environment(settings), program=[binary]) as forwarder:
            (failed, *_) = forwarder.wait_for_log("POST failed")
            assert "certificate" in str(failed["reason"]).lower()
            assert forwarder.running
            forwarder.signal(signal.SIGTERM)
            forwarder.signal(signal.SIGTERM)
            forwarder.wait(60)
        settings["SSL_CERT_FILE"] = str(certificate)
        with Forwarder(rig.environment(settings), program=[binary]) as forwarder:
            rig.account.wait()
            assert forwarder.stop() == 0


def test_a_private_authority_of_event_hubs_and_of_the_storage_account(
    binary: str, blob: Store, azurite: Azurite, temp: str, tmp_path: Path
) -> None:
    """As behind an inspecting firewall: the hub, the checkpoints and Falco show its certificate."""
    certificate, key = make_certificate(tmp_path)
    with (
        open_rig(blob) as rig,
        tls_front(rig.falco.port, certificate, key) as falco,
        tls_front(rig.emulator.port, certificate, key, AMQPS),
        tls_front(azurite.port, certificate, key) as storage,
    ):
        environment = rig.environment({"TMPDIR": temp})
        for old, new in (
            (f":{rig.falco.port}", f":{falco}"),
            (f":{rig.emulator.port}", ""),
            (f":{azurite.port}", f":{storage}"),
            ("http://", "https://"),
            ("Protocol=http;", "Protocol=https;"),
            ("UseDevelopmentEmulator=true", ""),
        ):
            environment = {name: value.replace(old, new) for name, value in environment.items()}
        rig.publish(Stream(seed=6, malformed=0).take(50))
        with Forwarder(environment, program=[binary]) as forwarder:
            (failed, *_) = forwarder.wait_for_log("rebuilding the client")
            assert "certificate" in str(failed["reason"]).lower()
            forwarder.signal(signal.SIGTERM)
            forwarder.signal(signal.SIGTERM)
            forwarder.wait(60)
        environment["SSL_CERT_FILE"] = str(certificate)
        with Forwarder(environment, program=[binary]) as forwarder:
            rig.account.wait()
            assert forwarder.stop() == 0
        checkpoints = blob.checkpoints("localhost", HUB, GROUP)
        assert checkpoints == rig.last_sequence_numbers()


@contained
def test_sigterm_as_the_first_process(binary: str, rig: Rig, temp: str) -> None:
    rig.publish(Stream(seed=5).take(500))
    environment = {**rig.environment({"TMPDIR": temp}), "PATH": os.environ["PATH"]}
    with Forwarder(environment, program=as_pid_1(binary)) as forwarder:
        rig.account.wait()
        first_process(forwarder.pid).send_signal(signal.SIGTERM)
        assert forwarder.wait() == 0
        assert forwarder.log("stopped")
    assert rig.checkpoints() == rig.last_sequence_numbers()


@contained
def test_a_tmp_without_exec_is_told(binary: str, tmp_path: Path) -> None:
    with noexec_tmpfs(tmp_path / "noexec") as folder:
        done = run(binary, "--version", TMPDIR=str(folder))
        eventually(lambda: not list(folder.iterdir()), "the leftovers' removal")
    assert done.returncode != 0
    assert "failed to map segment from shared object" in done.stderr
