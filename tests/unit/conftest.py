"""Unit tests need no process and no socket: what needs one belongs in another folder."""

import platform
import sys
from collections.abc import Iterator

import pytest

REFUSED = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
}
"""Events of Python's audit hooks (the library reference has the table of them)."""

_guarded = False


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if _guarded and event in REFUSED:
        pytest.fail(f"{event}{args}: a test with a process or a socket is not a unit test")


# Azure's clients tell the platform to the server, and Python asks `uname` for it, once.
platform.platform()

# A hook stays for good, and the other folders share the process.
sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def no_process_and_no_socket() -> Iterator[None]:
    global _guarded  # noqa: PLW0603 - the hook has no other way to know
    _guarded = True
    yield
    _guarded = False
