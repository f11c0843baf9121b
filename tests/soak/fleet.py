"""The forwarders of the soak: one that runs all the time, one that is ended again and again.

Both are started again when they end by themselves, as Kubernetes would.
"""

import signal
import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil

from testkit.rig import Forwarder

MIB = 1024 * 1024


@dataclass
class Sample:
    """A process at a moment."""

    second: float
    rss: int
    descriptors: int


@dataclass
class Life:
    """What was seen of one process."""

    forwarder: Forwarder
    samples: list[Sample] = field(default_factory=list)

    def sample(self, second: float) -> None:
        """Look at it."""
        try:
            process = psutil.Process(self.forwarder.pid)
            with process.oneshot():
                seen = Sample(second, process.memory_info().rss, process.num_fds())
        except psutil.Error:
            return  # it is gone
        if seen.rss:
            self.samples.append(seen)

    def medians(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """The median RSS and descriptors of its first and last third; None if it lived short."""
        third = len(self.samples) // 3
        if third < 20:  # seconds: its start would be most of it
            return None
        parts = self.samples[:third], self.samples[-third:]
        early, late = (
            (
                statistics.median(each.rss for each in part),
                statistics.median(each.descriptors for each in part),
            )
            for part in parts
        )
        return early, late


class Fleet:
    """The steady forwarder, and the one that is ended."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.RLock()
        self._down = False
        self.lives: list[Life] = []
        self.ended_by_themselves: list[str] = []
        self.starts = 0
        self.steady = self._launch()
        self.unlucky = self._launch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in (self.steady, self.unlucky):
            each.close()

    def _launch(self) -> Forwarder:
        forwarder = Forwarder(self._environment).start()
        self.lives.append(Life(forwarder))
        self.starts += 1
        return forwarder

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the unlucky one."""
        with self._lock:
            if self.unlucky.running:
                self.unlucky.signal(number)

    def kill(self) -> None:
        """Kill the unlucky one."""
        with self._lock:
            self._down = True
            self.unlucky.kill()

    def stop(self) -> None:
        """Stop the unlucky one in order; it may take as long as its grace period."""
        with self._lock:
            self._down = True
            status = self.unlucky.stop()
            # It has nothing to drain before it listens to signals.
            if status not in {0, -signal.SIGTERM}:
                self.ended_by_themselves.append(f"SIGTERM ended with {status}")

    def start(self) -> None:
        """Start the unlucky one again."""
        with self._lock:
            self._down = False
            self.unlucky.close()
            self.unlucky = self._launch()

    def look(self, second: float) -> None:
        """Take samples of both, and start again what ended by itself."""
        with self._lock:
            for life in self.lives:
                if life.forwarder.running:
                    life.sample(second)
            if not self.steady.running:
                self.steady = self._replace(self.steady)
            if not self.unlucky.running and not self._down:
                self.unlucky = self._replace(self.unlucky)

    def _replace(self, dead: Forwarder) -> Forwarder:
        last = dead.log()[-1:] or [{"msg": dead.text[-300:]}]
        self.ended_by_themselves.append(f"status {dead.wait()}: {last[0]}")
        dead.close()
        return self._launch()
