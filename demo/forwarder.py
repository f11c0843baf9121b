"""The forwarder as a process of its own: started, watched through its endpoint, stopped."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import trio
from prometheus_client.parser import text_string_to_metric_families

from demo.errors import DemoError

COMMAND = (sys.executable, "-m", "aks_audit")
_READY_SECONDS = 30.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV")
"""Anything else stays out: a developer's own settings must not reconfigure the demo."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the forwarder says of itself."""

    delivered: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Records not forwarded, by reason."""
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    """Dead letters kept, by reason."""
    clusters: Mapping[str, int] = field(default_factory=dict)
    """Audit events forwarded, by cluster."""
    salvaged: int = 0
    copies: int = 0
    """Audit events that had come before."""
    hub_events: int = 0
    in_flight: int = 0
    in_flight_bytes: int = 0
    retries: int = 0
    errors: int = 0

    @property
    def skipped_total(self) -> int:
        """How many records were not forwarded."""
        return sum(self.skipped.values())


def environment(connection_string: str, hub: str, sink_url: str, directory: Path) -> dict[str, str]:
    """Return the forwarder's whole environment: its configuration, and what Python needs."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {
        "EHUBNAMESPACECONNECTIONSTRING": connection_string,
        "EVENTHUBNAME": hub,
        "WEBSINKURL": sink_url,
        "CHECKPOINTFILE": str(directory / "checkpoints.sqlite"),
        "STARTPOSITION": "earliest",
        "STATSADDRESS": f"127.0.0.1:{_free_port()}",
        "LOGFORMAT": "json",
    }


class Forwarder:
    """A running forwarder."""

    def __init__(self, process: trio.Process, stats_address: str) -> None:
        self._process = process
        self._client = httpx.AsyncClient(base_url=f"http://{stats_address}", trust_env=False)

    async def ready(self) -> None:
        """Wait until it says that it is ready; DemoError if it ends or takes too long."""
        with trio.move_on_after(_READY_SECONDS):
            while not await self._answers("/readyz"):
                self.check()
                await trio.sleep(_POLL_SECONDS)
            return
        raise DemoError(f"the forwarder is not ready after {_READY_SECONDS:.0f} s")

    def check(self) -> None:
        """Raise DemoError if it has ended by itself."""
        if self._process.returncode is not None:
            raise DemoError(f"the forwarder ended with status {self._process.returncode}")

    async def counts(self) -> Counts:
        """Read its metrics; DemoError if it does not answer."""
        try:
            response = await self._client.get("/metrics")
            return read_counts(response.raise_for_status().text)
        except httpx.HTTPError as error:
            self.check()
            raise DemoError(f"the forwarder's metrics cannot be read: {error!r}") from error

    async def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        await self._client.aclose()
        self.check()
        self._process.send_signal(signal.SIGTERM)
        with trio.move_on_after(_STOP_SECONDS):
            return await self._process.wait()
        raise DemoError(f"the forwarder goes on {_STOP_SECONDS:.0f} s after SIGTERM")

    async def _answers(self, path: str) -> bool:
        try:
            return (await self._client.get(path)).is_success
        except httpx.TransportError:
            return False


async def start(
    nursery: trio.Nursery,
    settings: Mapping[str, str],
    log: Path,
    command: Sequence[str] = COMMAND,
) -> Forwarder:
    """Start it in a nursery, which ends it when it is cancelled."""
    with log.open("wb") as output:
        run = partial(
            trio.run_process,
            list(command),
            env=dict(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            deliver_cancel=_end,
        )
        process = await nursery.start(run)
    return Forwarder(process, settings["STATSADDRESS"])


async def _end(process: trio.Process) -> None:
    """End it as its supervisor would; trio runs this to its end when the nursery is cancelled."""
    process.terminate()
    await trio.sleep(_STOP_SECONDS)
    process.kill()


def read_counts(text: str) -> Counts:
    """Read the metrics; counters may or may not carry the suffix `_total`."""
    values: dict[str, float] = {}
    labelled: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")
            values[name] = values.get(name, 0.0) + sample.value
            if sample.labels.get("kind", "forwarded") == "forwarded":
                label = sample.labels.get("reason") or sample.labels.get("cluster", "")
                labelled.setdefault(name, {})[label] = int(sample.value)

    def value(*names: str) -> int:
        return int(next((values[name] for name in names if name in values), 0))

    old, new = "falco_aks_audit_log", "aks_audit_log"
    return Counts(
        delivered=value(f"{old}_events_success", f"{old}_success"),
        errors=value(f"{old}_events_errors", f"{old}_errors"),
        retries=value(f"{old}_events_retry", f"{old}_retry"),
        skipped=labelled.get(f"{new}_records_skipped", {}),
        dead_letters=labelled.get(f"{new}_dead_letters", {}),
        clusters=labelled.get(f"{new}_cluster_events", {}),
        salvaged=value(f"{new}_events_salvaged"),
        copies=value(f"{new}_events_duplicate"),
        hub_events=value(f"{new}_hub_events"),
        in_flight=value(f"{new}_inflight_events"),
        in_flight_bytes=value(f"{new}_inflight_bytes"),
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
