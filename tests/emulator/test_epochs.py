from __future__ import annotations

from typing import TYPE_CHECKING

import proton

from emulator import ThreadedEmulator
from tests.emulator.helpers import BareClient, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulator.helpers import Consumer

PARTITION = "audit/ConsumerGroups/$Default/Partitions/0"


def attached(link: proton.Link) -> Callable[[], object]:
    return lambda: link.state & proton.Endpoint.REMOTE_ACTIVE


def closed(link: proton.Link) -> Callable[[], object]:
    return lambda: link.state & proton.Endpoint.REMOTE_CLOSED


def condition(link: proton.Link) -> str:
    assert link.remote_condition is not None
    return link.remote_condition.name


def epochs(emulator: ThreadedEmulator) -> list[int | None]:
    return [receiver.epoch for receiver in emulator.counters().receivers]


def test_a_higher_epoch_steals_the_partition(
    emulator: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    emulator.broker.publish("audit", "0", [b"event"])

    def owner(level: int) -> Consumer:
        return consumer(
            emulator.connection_string, partition_id="0", owner_level=level, retry_total=0
        )

    with owner(1) as first:
        first.wait(1)
        assert epochs(emulator) == [1]
        with owner(2) as second:
            second.wait(1)
            first.wait_for_error("New receiver 'nil' with higher epoch of '2' is created")
            assert epochs(emulator) == [2]


def test_an_equal_epoch_steals_the_partition(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as one, BareClient(emulator.port) as two:
        first = one.receiver(PARTITION, 1, epoch=3)
        one.pump_until(attached(first))
        second = two.receiver(PARTITION, 1, epoch=3)
        two.pump_until(attached(second))
        one.pump_until(closed(first))
        assert condition(first) == "amqp:link:stolen"
        assert epochs(emulator) == [3]


def test_a_lower_epoch_is_refused(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        owner = client.receiver(PARTITION, 1, epoch=3)
        client.pump_until(attached(owner))
        lower = client.receiver(PARTITION, 2, epoch=2)
        client.pump_until(closed(lower))
        assert condition(lower) == "amqp:link:stolen"
        assert epochs(emulator) == [3]


def test_without_an_epoch_it_is_refused_while_there_is_one(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        owner = client.receiver(PARTITION, 1, epoch=0)
        client.pump_until(attached(owner))
        plain = client.receiver(PARTITION, 2)
        client.pump_until(closed(plain))
        assert condition(plain) == "amqp:link:stolen"
        owner.close()
        client.pump_until(closed(owner))
        again = client.receiver(PARTITION, 3)
        client.pump_until(attached(again))
        assert epochs(emulator) == [None]


def test_an_epoch_disconnects_those_without(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        plain = [client.receiver(PARTITION, credit) for credit in (1, 2)]
        client.pump_until(lambda: all(attached(link)() for link in plain))
        owner = client.receiver(PARTITION, 3, epoch=0)
        client.pump_until(attached(owner))
        client.pump_until(lambda: all(closed(link)() for link in plain))
        assert {condition(link) for link in plain} == {"amqp:link:stolen"}
        assert epochs(emulator) == [0]


def test_other_groups_and_partitions_are_not_concerned(emulator: ThreadedEmulator) -> None:
    addresses = [PARTITION, PARTITION.replace("$Default", "two"), PARTITION[:-1] + "1"]
    with BareClient(emulator.port) as client:
        links = [client.receiver(address, 1, epoch=5) for address in addresses]
        client.pump_until(lambda: all(attached(link)() for link in links))
        assert epochs(emulator) == [5, 5, 5]


def test_no_more_than_five_without_an_epoch(emulator: ThreadedEmulator) -> None:
    with BareClient(emulator.port) as client:
        links = [client.receiver(PARTITION, credit) for credit in range(1, 7)]
        client.pump_until(closed(links[-1]))
        assert condition(links[-1]) == "amqp:resource-limit-exceeded"
        assert len(epochs(emulator)) == 5
    until(lambda: epochs(emulator) == [])
