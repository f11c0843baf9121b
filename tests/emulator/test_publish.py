"""`python -m emulator publish`, as a process."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from emulator import ThreadedEmulator, message

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "emulator", "publish", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def kept(emulator: ThreadedEmulator, partition: str) -> list[bytes]:
    """Return the bodies in a partition."""
    broker = emulator.broker
    events = broker.read(broker.hub("audit").partition(partition), 0, 100_000, 1 << 30)
    sections = (message.parse(event.encoded).rest for event in events)
    return [bytes(rest[-1])[5 if rest[-1][3] == 0xA0 else 8 :] for rest in sections]


def test_each_line_is_an_event(emulator: ThreadedEmulator, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b'{"n":1}\n\n{"n":2}\r\n')
    (tmp_path / "two").write_bytes(b"without an end")
    done = run(tmp_path / "one", tmp_path / "two", "-", "--port", str(emulator.port),
               "--hub", "audit", "--partition", "1", stdin=b"from stdin\n")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"sent 4 events to audit\n"), done.stderr
    assert done.stderr == b""
    assert kept(emulator, "1") == [b'{"n":1}', b'{"n":2}', b"without an end", b"from stdin"]


def test_each_file_may_be_an_event(emulator: ThreadedEmulator, tmp_path: Path) -> None:
    body = b'{"records": [\n' + b"1,\n" * 500 + b"1]}\n"
    (tmp_path / "body").write_bytes(body)
    connection = f"{emulator.connection_string};EntityPath=audit"
    done = run("--connection-string", connection, "--bodies", tmp_path / "body", tmp_path / "body")
    assert (done.returncode, done.stdout) == (0, b"sent 2 events to audit\n"), done.stderr
    assert kept(emulator, "0") + kept(emulator, "1") == [body, body]


def test_many_lines_go_in_several_batches(emulator: ThreadedEmulator) -> None:
    lines = [b"%05d" % number + b"x" * 1000 for number in range(3000)]
    done = run("-", "--port", str(emulator.port), "--hub", "audit", "--partition", "0",
               stdin=b"\n".join(lines))  # fmt: skip
    assert done.stdout == b"sent 3000 events to audit\n", done.stderr
    assert kept(emulator, "0") == lines


def test_a_line_that_is_too_large_is_named(emulator: ThreadedEmulator) -> None:
    done = run("-", "--port", str(emulator.port), "--hub", "audit",
               stdin=b"first\n" + b"x" * (1 << 20))  # fmt: skip
    assert done.returncode == 1
    error = b"Error: <stdin>:2 is larger than the hub takes (1048576 of 1048576 bytes)"
    assert done.stderr.startswith(error)
    assert done.stderr.endswith(b"; 1 events were sent\n")


def test_what_prevents_sending_is_said(emulator: ThreadedEmulator) -> None:
    done = run("-", "--port", str(emulator.port), "--hub", "missing", stdin=b"x")
    assert done.returncode == 1
    assert b"Error: cannot send to missing: " in done.stderr
    assert b"could not be found" in done.stderr
    assert b"Traceback" not in done.stderr


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = run("-", "--port", str(port), "--hub", "audit", stdin=b"x")
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: cannot send to audit: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-"], "give either --connection-string or --port"),
        (["-", "--port", "1", "--connection-string", "x"], "give either"),
        (["-", "--port", "1"], "--hub"),
        (["-", "--connection-string", "nonsense", "--hub", "audit"], "--connection-string"),
        (["--port", "1", "--hub", "audit"], "FILES"),
        (["/no/such/file", "--port", "1", "--hub", "audit"], "No such file"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], error: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert error in done.stderr.decode()


def test_help_names_both_commands() -> None:
    command = [sys.executable, "-m", "emulator", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "publish" in shown
    assert "serve" in shown
