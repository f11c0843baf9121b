"""Something else answers in the place of Blob Storage: nothing counts as written, or as absent."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from azure.core.exceptions import AzureError

from aks_audit.checkpoints.blob import BlobStore
from aks_audit.config.load import load
from aks_audit.config.settings import BlobLocation
from aks_audit.deadletters.store import BlobStore as DeadLetters
from aks_audit.model import Position
from aks_audit.storage import open_container
from testkit.rig import Azurite, blob_store, open_rig
from testkit.rig.proxy import Proxy
from testkit.streams.bodies import audit_bodies
from tests.fault.balance import Balance, Report
from tests.helpers import ENVIRONMENT

PAGE = b"<!DOCTYPE html><html><body>Please log in to use this network.</body></html>"
KEY = ("namespace", "hub", "group", "0")


def portal(status: int) -> type[BaseHTTPRequestHandler]:
    """A captive portal: it has the same page for every request."""

    class Portal(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(PAGE)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(PAGE)

        do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815 - the names are given

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as is this
            """Say nothing."""

    return Portal


@contextmanager
def serve(status: int, port: int = 0) -> Iterator[int]:
    """Be that portal on a loopback port; gives the port."""
    with ThreadingHTTPServer(("127.0.0.1", port), portal(status)) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(params=[200, 201, 404, 409, 412])
def page(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a portal that answers with this status."""
    with serve(request.param) as port:
        yield port


def config_of(port: int) -> tuple[BlobLocation, DeadLetters]:
    settings = {
        **ENVIRONMENT,
        "BLOBSTORAGECONNECTIONSTRING": Azurite(port).connection_string,
        "CHECKPOINTFILE": "",
    }
    config = load(settings)
    assert isinstance(config.checkpoint.location, BlobLocation)
    location = config.checkpoint.location
    return location, DeadLetters(open_container(location), config.hub)


CALLS: dict[str, Callable[[BlobStore], object]] = {
    "create": lambda store: store.create(KEY, Position(7, "7")),
    "fence": lambda store: store.fence(KEY, "writer"),
    "list_ownership": lambda store: list(store.list_ownership(*KEY[:3])),
    "list_checkpoints": lambda store: list(store.list_checkpoints(*KEY[:3])),
    "claim_ownership": lambda store: store.claim_ownership(
        [
            {
                "fully_qualified_namespace": KEY[0],
                "eventhub_name": KEY[1],
                "consumer_group": KEY[2],
                "partition_id": KEY[3],
                "owner_id": "us",
            }
        ]
    ),
}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aks_audit.storage.TIMEOUTS", {"retry_total": 0})


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    with Proxy(azurite.port) as running:
        yield running


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_page_is_not_an_answer_about_checkpoints(
    page: int, call: Callable[[BlobStore], object]
) -> None:
    store = BlobStore(open_container(config_of(page)[0]))
    with pytest.raises(AzureError, match="is a proxy in between"):
        call(store)


LETTER_CALLS: dict[str, Callable[[DeadLetters], object]] = {
    "write": lambda letters: letters.write("segment.jsonl", b"{}\n"),
    "names": lambda letters: list(letters.names()),
    "read": lambda letters: letters.read("segment.jsonl"),
    "remove": lambda letters: letters.remove("segment.jsonl"),
}


@pytest.mark.parametrize("call", LETTER_CALLS.values(), ids=LETTER_CALLS)
def test_a_page_is_not_an_answer_about_dead_letters(
    page: int, call: Callable[[DeadLetters], object]
) -> None:
    with pytest.raises(AzureError, match="is a proxy in between"):
        call(config_of(page)[1])


def test_a_portal_in_front_of_the_store_for_a_while(proxy: Proxy, record_property: Report) -> None:
    """What the forwarder does not believe is written stays to be written."""
    store = blob_store(Azurite(proxy.port).connection_string)
    with open_rig(store) as rig, rig.forwarder() as forwarder:
        balance = Balance(rig, record_property)
        rig.falco.faults.reject('"poison-')
        rig.publish(audit_bodies("before", 40, partitions=4))
        balance.wait()
        proxy.refuse()
        with serve(200, proxy.port):
            rig.publish(audit_bodies("during", 40, partitions=4))
            rig.publish(audit_bodies("poison", 4, partitions=4))
            forwarder.wait_until_unready("dead letters", "is a proxy in between")
            refused = forwarder.wait_for_log("checkpoint not written, trying again later")
            assert "is a proxy in between" in refused[-1]["reason"]
            assert forwarder.metrics().total("aks_audit_log_inflight_events") == 4
            assert forwarder.get("/livez").status_code == 200
        proxy.accept()
        balance.wait()
        forwarder.wait_until_ready()
        assert forwarder.stop() == 0
        balance.check(dead=4)
