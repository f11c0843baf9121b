"""Events larger than MAXEVENTBYTES, which Falco would take and drop without a word."""

import json

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies, envelope
from testkit.streams.stream import Published
from tests.fault.balance import Balance

FALCO_MAX_BYTES = 262_144


def sized(audit_id: str, size: int) -> Published:
    """A hub event with one audit event of exactly that many bytes."""
    plain = json.loads(envelope([audit_id]))["records"][0]["properties"]["log"].strip()
    body = envelope([audit_id], padding=size - len(plain))
    return Published(body, 0, ((audit_id, "ResponseComplete"),))


def test_what_falco_would_drop_becomes_a_dead_letter(rig: Rig, balance: Balance) -> None:
    rig.publish(audit_bodies("good", 40, records=2, partitions=4))
    rig.publish([sized("fits", FALCO_MAX_BYTES), sized("over", FALCO_MAX_BYTES + 1)])
    rig.publish([sized("far over", 900_000)])
    with rig.forwarder(POSTBATCHMAXBYTES="512KiB") as forwarder:
        balance.wait()
        scrape = forwarder.metrics()
        assert scrape.total("aks_audit_log_records_skipped_total", reason="too-large") == 2
        assert scrape.total("aks_audit_log_dead_letters_total", reason="too-large") == 2
        assert forwarder.ready()
        assert forwarder.stop() == 0
    assert [each.audit_id for each in balance.letters()] == ["over", "far over"]
    assert all("Falco drops events over 262144" in each.detail for each in balance.letters())
    assert ("fits", "ResponseComplete") in rig.falco.receipts
    assert max(map(len, rig.falco.bodies)) <= 512 * 1024
    balance.check(dead=2)
