"""The faults of the soak, in groups: one of a group at a time, the groups in parallel."""

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from emulator import ThreadedEmulator
from testkit.falco import ThreadedFalco
from testkit.rig import HUB
from tests.soak.fleet import Fleet
from tests.soak.traffic import POISON

Fault = Callable[[], AbstractContextManager[object]]
"""Breaks something for the time of a with block."""


BACKLOG_S = 5.0
"""How long to wait for the first event of what has waited for Falco."""


class NotNowError(Exception):
    """This fault cannot be made now."""


def at_once(action: Callable[[], object]) -> Fault:
    """Return the fault that an action is; what it breaks mends itself."""

    @contextmanager
    def fault() -> Iterator[None]:
        action()
        yield

    return fault


def between(begin: Callable[[], object], end: Callable[[], object]) -> Fault:
    """Return the fault that lasts from one action to the other."""

    @contextmanager
    def fault() -> Iterator[None]:
        begin()
        try:
            yield
        finally:
            end()

    return fault


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

    @contextmanager
    def killed_in_backlog() -> Iterator[None]:
        with falco.refusing():
            yield
        taken = falco.count
        with suppress(TimeoutError):  # where nothing has waited, nothing is queued
            falco.wait_for(lambda: falco.count > taken, BACKLOG_S)
        falco.restart(kill=True)

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
        "falco restarts": at_once(falco.restart),
        "falco is killed in a backlog": killed_in_backlog,
        "falco flaps": planned(lambda: faults.script("200*2 503 cut 200*3 garbage 500*2 429 " * 9)),
    }


def hub_faults(
    emulator: ThreadedEmulator, drained: Callable[[], AbstractContextManager[object]]
) -> dict[str, Fault]:
    """What can be wrong with Event Hubs.

    Args:
        emulator: Stands for Event Hubs.
        drained: Nothing is published during its with block, and what was is delivered: a hub that
            is replaced takes with it what nobody has read. Raises NotNowError.
    """
    faults = emulator.faults

    def replaced(replace: Callable[[], object]) -> Fault:
        @contextmanager
        def fault() -> Iterator[None]:
            with drained():
                replace()
            yield

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
        "hub is recreated": replaced(lambda: faults.recreate(HUB)),
        "hub fails over": replaced(faults.fail_over),
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
        with ExitStack() as stack:
            tell(f"{name}, {seconds:.1f} s")
            try:
                stack.enter_context(faults[name]())
            except NotNowError:
                continue
            made[name] += 1
            over.wait(seconds)
