"""The processes of one measurement: hub, sink and forwarder, each measured separately."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from bench.hub import Load
from bench.sink import Taken
from testkit.rig import Scrape

PYTHON = sys.executable
ROOT = Path(__file__).resolve().parent.parent

Program = Sequence[str]
"""How the forwarder is started."""
SOURCE: Program = (PYTHON, "-m", "aks_audit")


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process with pipes; kill it and its children at the end of the block."""
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            for child in psutil.Process(running.pid).children(recursive=True):
                child.kill()
            running.kill()
            running.wait()


def ask(running: subprocess.Popen[str]) -> str:
    """Write a line to a process; returns the next line of its output."""
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()
    return line_of(running)


def line_of(running: subprocess.Popen[str]) -> str:
    """Return the next line of a process's output."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


@dataclass(frozen=True, slots=True)
class Hub:
    """The emulator."""

    connection_string: str
    backlog_bytes: int
    _running: subprocess.Popen[str]

    def stream(self) -> int:
        """Publish the stream of the load; returns the number of its hub events."""
        return int(ask(self._running))


@contextmanager
def open_hub(load: Load) -> Iterator[Hub]:
    """Run the emulator with a backlog."""
    arguments = msgspec.json.encode(load).decode()
    with process(PYTHON, "-m", "bench.hub", arguments) as running:
        connection_string, _, size = line_of(running).rpartition(" ")
        yield Hub(connection_string, int(size), running)


@dataclass(frozen=True, slots=True)
class Sink:
    """The webhook."""

    url: str
    _running: subprocess.Popen[str]

    def taken(self) -> Taken:
        """Return what has arrived so far."""
        return msgspec.json.decode(ask(self._running), type=Taken)


@contextmanager
def open_sink(latency_ms: float = 0, mode: str = "count") -> Iterator[Sink]:
    """Run the webhook, in one of the modes of `bench.sink`."""
    with process(PYTHON, "-m", "bench.sink", str(latency_ms), mode) as running:
        yield Sink(line_of(running), running)


def used_by(*arguments: str) -> tuple[float, float]:
    """Run `bench.ceiling`; return CPU seconds and elapsed seconds."""
    command = [PYTHON, "-m", "bench.ceiling", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    cpu_s, seconds = map(float, done.stdout.split())
    return cpu_s, seconds


class Forwarder:
    """A forwarder under measurement.

    It is not the one of `testkit.rig`: its log is not read here, because that would cost CPU time,
    and the CPU and the memory of its children are added to its own.
    """

    def __init__(self, running: subprocess.Popen[str], port: int) -> None:
        self._running = running
        self._process = psutil.Process(running.pid)
        self._port = port

    def scrape(self, name: str) -> float:
        """Return a metric, summed over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            return Scrape(answer.read().decode()).total(name)

    def ready(self) -> bool:
        """Whether it answers that it is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=10) as it:
                return bool(it.status == 200)
        except OSError:
            return False

    def _tree(self) -> Sequence[psutil.Process]:
        # The executable unpacks itself in a process that then waits for the real one.
        return self._process, *self._process.children(recursive=True)

    def stop(self) -> int:
        """Ask it to end, as Kubernetes does; returns its exit code once it has ended."""
        self._running.terminate()
        return self._running.wait(timeout=120)

    def cpu_s(self) -> float:
        """CPU seconds so far, of the whole process tree."""
        times = [each.cpu_times() for each in self._tree()]
        return sum(each.user + each.system for each in times)

    def rss_bytes(self) -> int:
        """Resident memory now, of the whole process tree."""
        size: int = sum(each.memory_info().rss for each in self._tree())
        return size


@contextmanager
def open_forwarder(
    program: Program, hub: Hub, sink: Sink, settings: Mapping[str, str] | None = None
) -> Iterator[Forwarder]:
    """Run a forwarder with a new SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {
            "EHUBNAMESPACECONNECTIONSTRING": hub.connection_string,
            "WEBSINKURL": sink.url,
            "CHECKPOINTFILE": f"{folder}/checkpoints.sqlite",
            "STARTPOSITION": "earliest",
            "STATSADDRESS": f"127.0.0.1:{port}",
            "LOGLEVEL": "warn",
            **(settings or {}),
        }
        with process(*program, **environment) as running:
            yield Forwarder(running, port)


def free_port() -> int:
    """Return a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], bool], *, timeout_s: float = 120.0, every_s: float = 0.1) -> None:
    """Poll a condition until it holds. Raises TimeoutError."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(every_s)
