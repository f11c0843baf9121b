"""Events that the endpoint refuses, among good ones: they alone become dead letters."""

import random

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

POISONS = 25


def test_poison_among_many_costs_only_itself(rig: Rig, balance: Balance) -> None:
    hub_events = list(audit_bodies("mixed", 120, records=10, partitions=4))
    ids = [audit_id for each in hub_events for audit_id, _ in each.audit]
    poisons = random.Random(1).sample(ids, POISONS)
    for poison in poisons:
        rig.falco.faults.reject(f'"{poison}"', 422)
    with rig.forwarder(POSTBATCHMAXEVENTS="400") as forwarder:
        rig.publish(hub_events)
        balance.wait()
        settled = forwarder.metrics().by("aks_audit_log_events_settled_total", "outcome")
        assert settled == {"delivered": 1200 - POISONS, "dead-lettered": POISONS}
        assert forwarder.ready()
        assert forwarder.stop() == 0
    assert balance.reasons() == {"rejected": POISONS}
    letters = {letter.audit_id: letter for letter in balance.letters()}
    assert letters.keys() == set(poisons)
    for audit_id, letter in letters.items():
        number = int(audit_id.split("-")[1])
        assert (letter.partition, letter.sequence_number) == (str(number % 4), number // 4)
        assert f'"{audit_id}"'.encode() in letter.body
        assert letter.status == 422
        assert letter.attempts >= 2
    assert balance.check(dead=POISONS) == 0


def test_poison_on_an_endpoint_that_fails_now_and_then(rig: Rig, balance: Balance) -> None:
    for number in range(0, 40, 8):
        rig.falco.faults.reject(f'"mixed-{number}-0"')
    rig.falco.faults.script("200 503 200*2 cut 429 200 500 200*3 close 404 200*2 503*2 cut")
    # Without duplicates: each break would make doubtful what was accepted before.
    settings = {"POSTMAXRETRIES": "1", "POSTBATCHMAXEVENTS": "16", "INDOUBTBODIES": "0"}
    with rig.forwarder(**settings) as forwarder:
        rig.publish(audit_bodies("mixed", 40, records=4, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    assert balance.reasons() == {"rejected": 5}
    balance.check(dead=5)
