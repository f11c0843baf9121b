from collections.abc import Callable, Iterator

import pytest

from emulator import Broker
from testkit.rig import HUB, Forwarder, Rig, Store, open_rig
from testkit.streams.bodies import audit_bodies

PAGES = ("/", "/metrics", "/livez", "/readyz")
SECRET = "c2VjcmV0IGtleSBvZiB0aGUgaHVi"


def with_secrets(rig: Rig) -> dict[str, str]:
    address = rig.emulator.connection_string.replace("SAS_KEY_VALUE", SECRET)
    url = rig.falco.url.replace("http://", f"http://falco:{SECRET}@") + f"?token={SECRET}"
    return {"EHUBNAMESPACECONNECTIONSTRING": address, "WEBSINKURL": url, "LOGLEVEL": "trace"}


def assert_no_secret(forwarder: Forwarder, secret: str = SECRET) -> None:
    for page in PAGES:
        assert secret not in forwarder.get(page).text
    assert secret not in forwarder.text


def delivers(rig: Rig, forwarder: Forwarder) -> None:
    forwarder.wait_until_ready()
    rig.publish(audit_bodies("at-last", 8, partitions=4))
    rig.account.wait()
    rig.account.check()


def test_refused_credentials_are_named_and_tried_again(rig: Rig) -> None:
    rig.emulator.faults.refuse_auth(401)
    with rig.forwarder(**with_secrets(rig)) as forwarder:
        forwarder.wait_until_unready("source", "AuthenticationError")
        assert forwarder.get("/livez").status_code == 200
        assert_no_secret(forwarder)
        rig.emulator.faults.grant_auth()
        delivers(rig, forwarder)
        assert_no_secret(forwarder)
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    assert SECRET not in forwarder.text


def test_an_unreachable_namespace_is_named_and_tried_again(rig: Rig) -> None:
    rig.emulator.faults.refuse_connections()
    with rig.forwarder() as forwarder:
        forwarder.wait_until_unready("source", "Connect call failed")
        rig.emulator.faults.accept_connections()
        delivers(rig, forwarder)
        assert forwarder.stop() == 0
        assert not forwarder.stray()


def test_an_unknown_hub_is_named_and_tried_again(rig: Rig) -> None:
    with rig.forwarder(EVENTHUBNAME="not-yet-there") as forwarder:
        forwarder.wait_until_unready("source", "not-yet-there")
        with rig.emulator.broker.lock:
            rig.emulator.broker._hubs["not-yet-there"] = rig.emulator.broker.hub(HUB)
        delivers(rig, forwarder)
        assert forwarder.stop() == 0
        assert not forwarder.stray()


@pytest.fixture
def grouped_rig(sqlite: Store) -> Iterator[Rig]:
    with open_rig(sqlite, broker=Broker({HUB: 4}, groups=["falco"])) as running:
        yield running


def test_an_unknown_consumer_group_is_named_and_tried_again(grouped_rig: Rig) -> None:
    rig = grouped_rig
    with rig.forwarder(CONSUMERGROUP="not-yet-there") as forwarder:
        forwarder.wait_until_unready("source", "not-yet-there")
        groups = rig.emulator.broker.hub(HUB)._groups
        assert groups is not None
        assert forwarder.log("a partition cannot be opened")
        groups.add("not-yet-there")
        delivers(rig, forwarder)
        assert forwarder.stop() == 0
        assert not forwarder.stray()


def cut(rig: Rig) -> None:
    rig.emulator.faults.cut()


def restart(rig: Rig) -> None:
    rig.emulator.faults.stop()
    rig.emulator.faults.start()


def detach(rig: Rig) -> None:
    rig.emulator.faults.detach()


@pytest.mark.parametrize("fault", [cut, restart, detach])
def test_a_broken_connection_loses_nothing_and_repeats_nothing(
    rig: Rig, fault: Callable[[Rig], None]
) -> None:
    with rig.forwarder() as forwarder:
        rig.publish(audit_bodies("before", 40, partitions=4))
        rig.account.wait()
        rig.publish(audit_bodies("during", 40, partitions=4))
        fault(rig)
        rig.publish(audit_bodies("after", 40, partitions=4))
        rig.account.wait()
        rig.wait_for_checkpoints()
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    rig.account.check()


def test_retention_that_overtakes_us_is_reported(sqlite: Store) -> None:
    broker = Broker({HUB: 1}, retention_bytes=60_000)
    with open_rig(sqlite, broker=broker) as rig:
        with rig.forwarder() as forwarder:
            rig.publish(audit_bodies("before", 5))
            rig.account.wait()
            assert forwarder.stop() == 0
        gone = list(audit_bodies("gone", 100, padding=1000))
        for each in gone:
            broker.publish(HUB, "0", [each.body])
        kept = len(broker.hub(HUB).partitions[0])
        rig.account.note(gone[-kept:])
        with rig.forwarder() as forwarder:
            rig.account.wait()
            missing = 100 - kept
            (line,) = forwarder.wait_for_log(
                "events are missing before this one: they outlived the hub's retention"
            )
            assert line["missing"] == missing
            assert forwarder.metrics().total("aks_audit_log_sequence_gaps_total") == missing
            assert forwarder.stop() == 0
        rig.account.check()
