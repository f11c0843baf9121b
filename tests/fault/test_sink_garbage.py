"""What listens at the webhook's address does not speak HTTP, or speaks it badly."""

import pytest

from testkit.rig import Rig
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance

ANSWERS = (
    b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n",
    b"HTTP/1.1 200\r\nContent-Length: many\r\n\r\n",
    b"HTTP/1.1 999 \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: " + b"9" * 4000 + b"x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \xff:::/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 No\r\nSet-Cookie: \xff=\xfe; Max-Age=x\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"",
)

BROKEN_BODIES = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
)


def test_a_broken_body_behind_a_good_head_repeats_nothing(rig: Rig, balance: Balance) -> None:
    for answer in BROKEN_BODIES:
        rig.falco.faults.garbage(3, data=answer, taken=True)
    # The endpoint closes its connections as well, which makes doubtful what it accepted before.
    with rig.forwarder(POSTBATCHMAXEVENTS="5", INDOUBTBODIES="0") as forwarder:
        rig.publish(audit_bodies("broken", 40, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
    balance.check(duplicates_at_most=0)


@pytest.mark.parametrize("taken", [False, True], ids=["not taken", "taken"])
def test_garbage_is_a_fault_of_the_endpoint(rig: Rig, balance: Balance, *, taken: bool) -> None:
    for answer in ANSWERS:
        rig.falco.faults.garbage(1, data=answer, taken=taken)
    with rig.forwarder(POSTMAXRETRIES="3", POSTBATCHMAXEVENTS="5") as forwarder:
        rig.publish(audit_bodies("garbage", 40, records=3, partitions=4))
        balance.wait()
        assert not rig.falco.faults.pending
        assert forwarder.stop() == 0
        assert not forwarder.stray()
    duplicates = balance.check(duplicates_at_most=5 * len(ANSWERS) if taken else 0)
    assert bool(duplicates) == taken
