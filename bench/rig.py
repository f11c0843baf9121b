"""The processes of one measurement: hub, sink, forwarder, each alone to tell their CPU apart."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

PYTHON = sys.executable
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Load:
    """What is in the hub, and what comes in."""

    partitions: int = 4
    bodies: int = 0
    records: int = 22
    event_bytes: int = 1024
    rate_bodies_per_s: float = 0.0
    seconds: float = 0.0

    def arguments(self) -> list[str]:
        """As `bench.hub` takes them."""
        numbers = [self.partitions, self.bodies, self.records, self.event_bytes]
        steady = [self.rate_bodies_per_s, self.seconds] if self.rate_bodies_per_s else []
        return [str(number) for number in (*numbers, *steady)]


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes, ended at the end."""
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
        for child in psutil.Process(running.pid).children(recursive=True):
            child.kill()
        running.kill()
        running.wait()


def line_of(running: subprocess.Popen[str]) -> str:
    """The next line of a process's output."""
    assert running.stdout is not None
    return running.stdout.readline().strip()


@contextmanager
def hub(load: Load) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The emulator with a backlog; yields its connection string and the process."""
    with process(PYTHON, "-m", "bench.hub", *load.arguments()) as running:
        yield line_of(running), running


@contextmanager
def sink(latency_ms: float) -> Iterator[str]:
    """The webhook, which counts and does not judge; yields its URL."""
    command = ["-m", "demo.falco", "--port", "0", "--no-judge", "--latency-ms", str(latency_ms)]
    with process(PYTHON, *command) as running:
        yield line_of(running).split()[-1]


class Forwarder:
    """A forwarder under measurement."""

    def __init__(self, running: subprocess.Popen[str], port: int) -> None:
        self._tree = psutil.Process(running.pid)
        self._port = port

    def scrape(self) -> dict[str, float]:
        """The metrics without labels, and the sums over labels of the others."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (
                    f"{sample.name}:{sample.labels['le']}" if "le" in sample.labels else sample.name
                )
                sums[key] = sums.get(key, 0.0) + sample.value
        return sums

    def ready(self) -> bool:
        """Whether it answers that it is ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=10) as it:
                return bool(it.status == 200)
        except OSError:
            return False

    def cpu_s(self) -> float:
        """CPU seconds so far, of the whole process tree."""
        times = [each.cpu_times() for each in (self._tree, *self._tree.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def rss_mb(self) -> float:
        """Resident memory now, in MB."""
        tree = (self._tree, *self._tree.children(recursive=True))
        return sum(each.memory_info().rss for each in tree) / 1e6


@contextmanager
def forwarder(
    program: list[str], connection_string: str, url: str, settings: Mapping[str, str]
) -> Iterator[Forwarder]:
    """A forwarder on a fresh SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environment = {
            "EHUBNAMESPACECONNECTIONSTRING": connection_string,
            "WEBSINKURL": url,
            "CHECKPOINTFILE": f"{folder}/checkpoints.sqlite",
            "STARTPOSITION": "earliest",
            "STATSADDRESS": f"127.0.0.1:{port}",
            "LOGLEVEL": "warn",
            **settings,
        }
        with process(*program, **environment) as running:
            yield Forwarder(running, port)


def free_port() -> int:
    """A port that nobody listens on."""
    import socket  # noqa: PLC0415 - nothing else needs it

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(
    condition: Callable[[], bool], *, timeout_s: float = 120.0, every_s: float = 0.02
) -> float:
    """Poll a condition; returns when it held (monotonic time)."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(every_s)
    return time.monotonic()


def emit(line: str, **values: float | str) -> None:
    """A machine-readable line."""
    print(json.dumps({"line": line, **values}), flush=True)
