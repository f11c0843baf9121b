"""The faults of the soak, in groups: one of a group at a time, the groups in parallel."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from emulator import ThreadedEmulator
from testkit.falco import ThreadedFalco
from testkit.rig.proxy import Proxy
from tests.soak.fleet import Fleet
from tests.soak.traffic import POISON

Fault = Callable[[], AbstractContextManager[object]]
"""Breaks something for the time of a with block."""


def falco_faults(falco: ThreadedFalco) -> dict[str, Fault]:
    """What can be wrong with the endpoint."""
    faults = falco.faults

    def planned(plan: Callable[[], object]) -> Fault:
        @contextmanager
        def fault() -> Iterator[None]:
            plan()
            yield
            faults.clear()
            faults.reject(POISON)

        return fault

    return {
        "falco refuses connections": falco.refusing,
        "falco answers 500": planned(lambda: faults.answer(500, None)),
        "falco answers 503 with Retry-After": planned(
            lambda: faults.answer(503, None, retry_after=1)
        ),
        "falco answers 429": planned(lambda: faults.answer(429, None)),
        "falco answers 404": planned(lambda: faults.answer(404, None)),
        "falco answers 400 to everything": planned(lambda: faults.answer(400, None)),
        "falco closes in the middle": planned(lambda: faults.cut(None)),
        "falco closes having taken": planned(lambda: faults.close(5, taken=True)),
        "falco is silent": planned(lambda: faults.silence(None)),
        "falco is too late": planned(lambda: faults.delay(4.0, 6)),
        "falco is slow": planned(lambda: faults.delay(0.5, None)),
        "falco answers garbage": planned(lambda: faults.garbage(None)),
        "falco flaps": planned(lambda: faults.script("200*2 503 cut 200*3 garbage 500*2 429 " * 9)),
    }


def hub_faults(emulator: ThreadedEmulator) -> dict[str, Fault]:
    """What can be wrong with Event Hubs."""
    faults = emulator.faults

    def at_once(action: Callable[[], object]) -> Fault:
        @contextmanager
        def fault() -> Iterator[None]:
            action()
            yield

        return fault

    def between(begin: Callable[[], object], end: Callable[[], object]) -> Fault:
        @contextmanager
        def fault() -> Iterator[None]:
            begin()
            try:
                yield
            finally:
                end()

        return fault

    return {
        "hub cuts connections": at_once(faults.cut),
        "hub detaches receivers": at_once(faults.detach),
        "hub is silent": between(faults.silence, faults.recover),
        "hub is down": between(faults.stop, faults.start),
        "hub refuses tokens": between(faults.refuse_auth, faults.grant_auth),
        "hub is slow": between(
            lambda: faults.delay_deliveries(0.5), lambda: faults.delay_deliveries(0)
        ),
    }


def process_faults(fleet: Fleet) -> dict[str, Fault]:
    """What can happen to the processes."""

    @contextmanager
    def stopped() -> Iterator[None]:
        fleet.signal(signal.SIGSTOP)
        yield
        fleet.signal(signal.SIGCONT)

    @contextmanager
    def killed() -> Iterator[None]:
        fleet.kill()
        yield
        fleet.start()

    @contextmanager
    def restarted() -> Iterator[None]:
        fleet.stop()
        yield
        fleet.start()

    return {"kill -9": killed, "SIGTERM and start": restarted, "SIGSTOP": stopped}


def store_faults(proxy: Proxy) -> dict[str, Fault]:
    """What can be wrong with Blob Storage."""

    @contextmanager
    def cut() -> Iterator[None]:
        proxy.refuse()
        proxy.accept()
        yield

    return {"store refuses connections": proxy.refusing, "store cuts connections": cut}


def make_trouble(
    rng: random.Random,
    faults: dict[str, Fault],
    over: threading.Event,
    made: Counter[str],
    tell: Callable[[str], None],
) -> None:
    """Break one thing after the other until told that it is over; all faults end then."""
    while not over.wait(rng.uniform(1, 8)):
        name = rng.choice(sorted(faults))
        seconds = rng.uniform(0.5, 10)
        tell(f"{name}, {seconds:.1f} s")
        made[name] += 1
        with ExitStack() as stack:
            stack.enter_context(faults[name]())
            over.wait(seconds)
