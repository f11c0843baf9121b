from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies

WITHIN = {"POSTMAXRETRIES": "1", "POSTRETRYINCREMENTALDELAY": "10"}


@contextmanager
def busy(rig: Rig) -> Iterator[None]:
    rig.falco.faults.answer(503, times=None)
    yield
    rig.falco.faults.clear()


@contextmanager
def missing(rig: Rig) -> Iterator[None]:
    rig.falco.faults.answer(404, times=None)
    yield
    rig.falco.faults.clear()


@contextmanager
def away(rig: Rig) -> Iterator[None]:
    with rig.falco.refusing():
        yield


@contextmanager
def dumb(rig: Rig) -> Iterator[None]:
    rig.falco.faults.garbage(times=None)
    yield
    rig.falco.faults.clear()


Trouble = Callable[[Rig], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(busy, "HTTP 503"), (missing, "HTTP 404"), (away, "ConnectError"), (dumb, "RemoteProtocol")],
    ids=["busy", "missing", "away", "dumb"],
)
def test_events_are_held_until_the_endpoint_is_back(
    rig: Rig, trouble: Trouble, reason: str
) -> None:
    with rig.forwarder(**WITHIN) as forwarder:
        with trouble(rig):
            rig.publish(audit_bodies("held", 40, records=2, partitions=4))
            forwarder.wait_until_unready("sink", reason)
            assert forwarder.metrics().total("aks_audit_log_holding") == 1
            assert forwarder.get("/livez").status_code == 200
            assert rig.account.lost == set(rig.account.published)
            assert set(rig.checkpoints().values()) <= {-1}
        rig.account.wait()
        forwarder.wait_until_ready()
        rig.wait_for_checkpoints()
        scrape = forwarder.metrics()
        assert scrape.total("aks_audit_log_holding") == 0
        assert scrape.total("falco_aks_audit_log_events_success") == 80
        assert scrape.total("falco_aks_audit_log_events_retry") > 0
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    rig.account.check()


def test_retries_without_a_hold_are_not_unready(rig: Rig) -> None:
    rig.falco.faults.script("503*2 429 close cut 500")
    with rig.forwarder(POSTMAXRETRIES="100", POSTRETRYINCREMENTALDELAY="1") as forwarder:
        rig.publish(audit_bodies("retried", 40, partitions=4))
        rig.account.wait()
        assert not forwarder.log("holding events until the endpoint is back")
        assert forwarder.stop() == 0
    rig.account.check()


def test_poison_costs_only_itself(rig: Rig) -> None:
    poison = ("mixed-17-3", "ResponseComplete")
    rig.falco.faults.reject(f'"{poison[0]}"')
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("mixed", 40, records=5, partitions=4))
        rig.falco.wait_for(lambda: rig.account.lost == {poison})
        rig.wait_for_checkpoints()
        (line,) = forwarder.wait_for_log("dead letter", audit_id=poison[0])
        assert (line["reason"], line["status"]) == ("rejected", 400)
        scrape = forwarder.metrics()
        assert scrape.total("aks_audit_log_events_settled_total", outcome="delivered") == 199
        assert scrape.total("aks_audit_log_events_settled_total") == 200
        assert forwarder.ready()
        assert forwarder.stop() == 0
    assert rig.account.duplicates == 0


def test_drop_is_what_it_says(rig: Rig) -> None:
    rig.falco.faults.answer(503, times=None)
    with rig.forwarder(**WITHIN, POSTEXHAUSTED="drop") as forwarder:
        rig.publish(audit_bodies("dropped", 8, partitions=4))
        rig.wait_for_checkpoints()
        assert (
            forwarder.metrics().total("aks_audit_log_events_settled_total", outcome="dropped") == 8
        )
        assert len(forwarder.log("dropped after the last retry")) == 8
        rig.falco.faults.clear()
        assert forwarder.stop() == 0
    assert rig.falco.count == 0
