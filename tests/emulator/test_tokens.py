"""Keys and tokens: who is let in while the emulator has keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import proton
import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub._pyamqp import utils as sdk
from azure.eventhub.exceptions import AuthenticationError, EventHubError
from hypothesis import given
from hypothesis import strategies as st

from emulator import ThreadedEmulator
from emulator.tokens import Claim, check_token
from tests.emulator.helpers import BareClient, attempt, producer, unhurried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulator.helpers import Consumer

KEYS = {"first": "c2VjcmV0IG9uZQ==", "second": "not even base64"}
PARTITION = "audit/ConsumerGroups/$Default/Partitions/0"


@pytest.fixture
def locked() -> Iterator[ThreadedEmulator]:
    with ThreadedEmulator({"audit": 1, "other": 1}, keys=KEYS) as running:
        yield running


def sign(resource: str, name: str, key: str, expiry: int) -> str:
    return str(sdk.generate_sas_token(resource, name, key, expiry))  # type: ignore[no-untyped-call]


def connection(emulator: ThreadedEmulator, name: str, key: str) -> str:
    endpoint = f"Endpoint=sb://localhost:{emulator.port};UseDevelopmentEmulator=true"
    return f"{endpoint};SharedAccessKeyName={name};SharedAccessKey={key}"


def signed(emulator: ThreadedEmulator, token: str) -> str:
    endpoint = f"Endpoint=sb://localhost:{emulator.port};UseDevelopmentEmulator=true"
    return f"{endpoint};SharedAccessSignature={token}"


def send(connection_string: str) -> None:
    with producer(connection_string, retry_total=0) as sender:
        sender.send_event(EventData(b"event"))


def test_whoever_has_a_key_may_send_and_read(
    locked: ThreadedEmulator, consumer: type[Consumer]
) -> None:
    assert "SharedAccessKeyName=first;SharedAccessKey=c2VjcmV0IG9uZQ==;" in locked.connection_string
    send(locked.connection_string)
    second = connection(locked, "second", KEYS["second"])
    with consumer(second) as client:
        assert client.wait(1) == [b"event"]
    with producer(second) as asking:
        assert asking.get_partition_ids() == ["0"]
    assert locked.counters().refused_tokens == 0


@pytest.mark.parametrize(
    ("name", "key"), [("first", "wrong"), ("first", KEYS["second"]), ("third", KEYS["first"])]
)
def test_a_wrong_key_is_refused(locked: ThreadedEmulator, name: str, key: str) -> None:
    with pytest.raises(AuthenticationError):
        send(connection(locked, name, key))
    assert locked.counters().refused_tokens  # the SDK tries more than once
    assert locked.counters().partitions[0].events == 0


def test_an_expired_token_is_refused(locked: ThreadedEmulator) -> None:
    resource = f"sb://localhost:{locked.port}/audit"
    good = sign(resource, "first", KEYS["first"], int(time.time()) + 600)
    send(signed(locked, good))
    expired = sign(resource, "first", KEYS["first"], int(time.time()) - 600)
    with pytest.raises(AuthenticationError):
        send(signed(locked, expired))


def test_a_token_for_one_hub_does_not_open_another(locked: ThreadedEmulator) -> None:
    resource = f"sb://localhost:{locked.port}/other"
    token = sign(resource, "first", KEYS["first"], int(time.time()) + 600)
    with (
        EventHubProducerClient.from_connection_string(
            signed(locked, token), eventhub_name="audit", retry_total=0
        ) as sender,
        pytest.raises(EventHubError, match="'Send' claim"),
    ):
        sender.send_event(EventData(b"event"))


def refusal(client: BareClient, link: proton.Link) -> proton.Condition:
    client.pump_until(lambda: link.state & proton.Endpoint.REMOTE_CLOSED)
    assert link.remote_condition is not None
    return link.remote_condition


def test_without_a_token_links_are_refused(locked: ThreadedEmulator) -> None:
    with BareClient(locked.port) as client:
        links = [
            client.receiver(PARTITION, 1),
            client.sender("audit"),
            client.sender("$management"),
        ]
        found = [refusal(client, link) for link in links]
    assert {each.name for each in found} == {"amqp:unauthorized-access"}
    assert str(found[0].description).startswith("Unauthorized access. 'Listen' claim(s) are")
    assert str(found[1].description).startswith("Unauthorized access. 'Send' claim(s) are")


def put_token(client: BareClient, token: str) -> proton.Message:
    replies = client.receiver("$cbs", 1)
    requests = client.sender("$cbs")
    client.pump_until(lambda: requests.credit and replies.state & proton.Endpoint.REMOTE_ACTIVE)
    properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken"}
    requests.send(proton.Message(body=token, properties=properties, id=1))
    client.pump_until(lambda: client.messages)
    reply = proton.Message()
    reply.decode(client.messages[0][1])
    return reply


@pytest.mark.parametrize(
    ("key", "expiry", "description"),
    [
        ("wrong", 2_000_000_000, "InvalidSignature: The token has an invalid signature."),
        (KEYS["first"], 1_000, "ExpiredToken: The token is expired. Expiration time: 1000."),
    ],
)
def test_a_refused_token_is_answered_as_the_service_does(
    locked: ThreadedEmulator, key: str, expiry: int, description: str
) -> None:
    with BareClient(locked.port) as client:
        reply = put_token(client, sign("sb://localhost/audit", "first", key, expiry))
        link = client.receiver(PARTITION, 1)
        assert refusal(client, link).name == "amqp:unauthorized-access"
    assert reply.properties is not None
    assert reply.properties["status-code"] == 401
    assert reply.properties["status-description"] == description
    assert reply.properties["error-condition"] == "com.microsoft:auth-failed"


def test_a_token_that_is_not_a_signature_is_refused(locked: ThreadedEmulator) -> None:
    with BareClient(locked.port) as client:
        reply = put_token(client, "eyJhbGciOiJub25lIn0.e30.")
    assert reply.properties is not None
    assert reply.properties["status-code"] == 401
    assert str(reply.properties["status-description"]).startswith("InvalidIssuer:")


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)


@unhurried
@given(names, st.text(), st.integers(1, 2**40), st.lists(st.text(st.characters(codec="utf-8"))))
def test_what_the_sdk_signs_is_taken_with_its_key_only(
    name: str, key: str, expiry: int, path: list[str]
) -> None:
    resource = "/".join(["sb://localhost:5672", "audit", *path])
    token = sign(resource, name, key, expiry)
    claim = check_token(token, {name: key}, expiry - 1)
    assert claim.expires == expiry
    assert claim.path.startswith("audit")
    for keys, now in (({name: key + "x"}, expiry - 1), ({}, expiry - 1), ({name: key}, expiry)):
        assert attempt(check_token, token, keys, now)[1] == "com.microsoft:auth-failed"


@unhurried
@given(st.text() | st.text().map("SharedAccessSignature {}".format))
def test_any_text_that_is_not_signed_is_an_error(text: str) -> None:
    assert attempt(check_token, text, {"": "key", "first": "key"}, 0)[1]


@pytest.mark.parametrize(
    ("path", "covered"),
    [("Audit", True), ("audit/ConsumerGroups/x", True), ("audit2", False), ("", False)],
)
def test_a_claim_covers_what_is_below_it(path: str, covered: bool) -> None:  # noqa: FBT001
    assert Claim("audit", 0).covers(path) is covered
    assert Claim("", 0).covers(path)
