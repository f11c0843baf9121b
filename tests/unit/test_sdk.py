import sys

import pytest
from azure.eventhub._pyamqp.aio import _receiver_async
from azure.eventhub.aio import EventHubConsumerClient

from aks_audit.errors import Fatal
from aks_audit.hub.sdk import names


@pytest.mark.parametrize("name", names.PRIVATE_NAMES)
def test_the_sdk_has_the_private_names_that_are_relied_on(name: str) -> None:
    assert names._is_there(name), (
        f"azure-eventhub no longer has {name}: read what took its place, mend"
        " aks_audit/hub/sdk/, and only then raise the pin in pyproject.toml"
    )


def test_a_private_name_that_is_gone_ends_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names.check_private_names()
    monkeypatch.delattr(EventHubConsumerClient, "_create_consumer")
    with pytest.raises(Fatal, match=r"EventHubConsumerClient\._create_consumer.*pyproject"):
        names.check_private_names()


def test_an_attribute_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed:
        def __init__(self) -> None:
            self.tags: set[bytes] = set()

    monkeypatch.setattr(_receiver_async, "ReceiverLink", Renamed)
    with pytest.raises(Fatal, match=r"ReceiverLink\._received_delivery_tags"):
        names.check_private_names()


def test_a_module_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.eventhub.aio._consumer_async", None)
    with pytest.raises(Fatal, match=r"_consumer_async:EventHubConsumer\._open"):
        names.check_private_names()


@pytest.mark.parametrize(
    "name", ["azure.eventhub._no_such_module:Name", "azure.eventhub.aio:EventHubConsumerClient._no"]
)
def test_a_name_that_is_not_there_is_seen(name: str) -> None:
    assert not names._is_there(name)
