import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aks_audit.__main__ import _leaves
from aks_audit.errors import Fatal
from testkit.rig import Forwarder, Rig
from testkit.streams.bodies import audit_bodies

ROOT = Path(__file__).resolve().parents[2]
SECRET = "bm90IHRvIGJlIHNob3du"


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aks_audit", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_nothing_set_names_all_that_is_needed() -> None:
    ended = run({})
    assert ended.returncode == 2
    assert ended.stdout == ""
    for name in ("EHUBNAMESPACECONNECTIONSTRING", "BLOBSTORAGECONNECTIONSTRING", "WEBSINKURL"):
        assert re.search(rf"^  {name}: is not set", ended.stderr, re.MULTILINE)
    assert "CHECKPOINTFILE" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def test_all_problems_are_told_at_once_and_before_any_connection(
    listener: socket.socket, tmp_path: Path
) -> None:
    port = listener.getsockname()[1]
    hub = (
        f"Endpoint=sb://localhost:{port};SharedAccessKeyName=n;SharedAccessKey={SECRET};"
        "EntityPath=one-hub;UseDevelopmentEmulator=true"
    )
    ended = run(
        {
            "EHUBNAMESPACECONNECTIONSTRING": hub,
            "EVENTHUBNAME": "another-hub",
            "BLOBSTORAGECONNECTIONSTRING": f"AccountName=a;AccountKey={SECRET}",
            "CHECKPOINTFILE": str(tmp_path / "checkpoints"),
            "WEBSINKURL": f"ftp://user:{SECRET}@127.0.0.1:{port}/k8s-audit",
            "POSTMAXRETRIES": "many",
            "POSTEXHAUSTED": "shrug",
            "CHECKPOINTINTERVAL": "1",
            "STATSADDRESS": "nowhere",
            "KEEPALIVE": "perhaps",
        }
    )
    assert ended.returncode == 2
    told = set(re.findall(r"^  ([A-Z]+): ", ended.stderr, re.MULTILINE))
    assert told == {
        "EVENTHUBNAME",
        "BLOBSTORAGECONNECTIONSTRING",
        "CHECKPOINTFILE",
        "WEBSINKURL",
        "POSTMAXRETRIES",
        "POSTEXHAUSTED",
        "CHECKPOINTINTERVAL",
        "STATSADDRESS",
        "KEEPALIVE",
    }
    assert SECRET not in ended.stderr
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_example_environment_says_exactly_what_to_fill_in() -> None:
    script = f'. ./.envrc.example && exec "{sys.executable}" -m aks_audit'
    ended = subprocess.run(
        ["sh", "-c", script],
        env={},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 2
    told = re.findall(r"^  ([A-Z]+): (.*)$", ended.stderr, re.MULTILINE)
    assert sorted(name for name, _ in told) == [
        "BLOBSTORAGECONNECTIONSTRING",
        "EHUBNAMESPACECONNECTIONSTRING",
        "WEBSINKURL",
    ]
    assert all("placeholder" in wrong for _, wrong in told)


def test_a_misspelt_name_is_hinted_at() -> None:
    ended = run({"EVENTHUBNAMESPACECONNECTIONSTRING": "x", "WEBSINK_URL": "http://127.0.0.1/"})
    assert ended.returncode == 2
    assert re.search(r"hint: WEBSINK_URL .* WEBSINKURL", ended.stderr)


def test_version_and_help() -> None:
    ended = run({}, "--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(
        r"aks-audit-log \d+\.\d+\.\d+ \(.*Python 3\.[\d.]+, azure-eventhub [\d.]+\)\n", ended.stdout
    )
    for option in ("--help", "-h"):
        ended = run({}, option)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "environment variables" in ended.stdout
    assert run({}, "--nonsense").returncode == 2


def test_a_taken_address_is_fatal_and_named(rig: Rig, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with rig.forwarder(STATSADDRESS=f"127.0.0.1:{port}") as forwarder:
        assert forwarder.wait() == 1
        last = forwarder.log()[-1]
        assert last["level"] == "fatal"
        assert f"STATSADDRESS 127.0.0.1:{port}" in last["msg"]
        assert "in use" in last["msg"]
        assert not forwarder.stray()


def test_settings_may_come_from_files(rig: Rig, tmp_path: Path) -> None:
    environment = {}
    for name, text in rig.environment().items():
        file = tmp_path / name
        file.write_text(text + "\n")
        environment[f"{name}_FILE"] = str(file)
    with Forwarder(environment) as forwarder:
        rig.publish(audit_bodies("from-files", 4, partitions=4))
        rig.account.wait()
        assert forwarder.stop() == 0
    rig.account.check()


def test_the_names_of_the_sysdig_forwarder_work(rig: Rig) -> None:
    environment = rig.environment()
    for old in ("EhubNamespaceConnectionString", "WebSinkURL"):
        environment[old] = environment.pop(old.upper())
    environment["VerboseLevel"] = "4"
    with Forwarder(environment) as forwarder:
        rig.publish(audit_bodies("old-names", 4, partitions=4))
        rig.account.wait()
        assert forwarder.log("audit event", level="debug", audit_id="old-names-0-0")
        assert forwarder.stop() == 0
    rig.account.check()


def test_warnings_are_logged_at_start(rig: Rig) -> None:
    with rig.forwarder(POSTMAXRETRY="3") as forwarder:
        forwarder.wait_for_log("serving")
        assert [line for line in forwarder.log(level="warning") if "POSTMAXRETRIES" in line["msg"]]


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\x15\x03\x01\x00\x02\x02\x46"]
)
def test_a_healthcheck_of_something_else_says_so(
    answer: bytes, listener: socket.socket, tmp_path: Path
) -> None:
    """Another program listens at STATSADDRESS: no traceback, and exit status 1."""
    listener.settimeout(60)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    environment = {
        "EHUBNAMESPACECONNECTIONSTRING": "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=k",
        "CHECKPOINTFILE": str(tmp_path / "checkpoints"),
        "WEBSINKURL": "http://127.0.0.1:1/k8s-audit",
        "STATSADDRESS": f"127.0.0.1:{listener.getsockname()[1]}",
    }
    ended = run(environment, "healthcheck")
    server.join()
    assert ended.returncode == 1
    assert "no answer from 127.0.0.1:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_faults_in_nested_groups_are_told_one_by_one() -> None:
    group = ExceptionGroup("outer", [Fatal("one"), ExceptionGroup("inner", [Fatal("two")])])
    assert [str(error) for error in _leaves(group)] == ["one", "two"]
