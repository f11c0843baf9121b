"""SSL_CERT_FILE adds to the public authorities, for each of the three clients."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import certifi
import pytest
import trio
from azure.core.exceptions import ResourceNotFoundError, ServiceRequestError
from prometheus_client import CollectorRegistry

from aks_audit.config.authorities import bundle
from aks_audit.config.load import load
from aks_audit.config.settings import BlobLocation
from aks_audit.delivery.webhook import open_webhook
from aks_audit.errors import Retryable
from aks_audit.hub.receiver import Receiver
from aks_audit.ops.metrics import PostMetrics
from aks_audit.storage import open_container
from tests.configs import BLOB, GOOD, problem
from tests.package.authority import make_certificate

NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nx-ms-request-id: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


def read_request(tls: ssl.SSLSocket) -> None:
    """Read a request to its end, or to the connection's: a close with unread bytes is a reset."""
    data = b""
    while not _is_whole(data) and (more := tls.recv(65536)):
        data += more


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


@contextmanager
def serving(certificate: Path, key: Path) -> Iterator[int]:
    """A server that shows a certificate, and answers every request with 404."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                # Whoever does not trust the certificate ends the handshake.
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as tls:
                    read_request(tls)
                    tls.sendall(NOT_FOUND)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[int], Path]]:
    """Ports whose certificates come from a public authority, ours and another; our file."""
    folders = [tmp_path / name for name in ("public", "ours", "other")]
    for folder in folders:
        folder.mkdir()
    pairs = [make_certificate(folder, folder.name) for folder in folders]
    monkeypatch.setattr(certifi, "where", lambda: str(pairs[0][0]))
    with serving(*pairs[0]) as public, serving(*pairs[1]) as ours, serving(*pairs[2]) as other:
        yield [public, ours, other], pairs[1][0]


async def _webhook_trusts(port: int, file: Path) -> bool:
    settings = {"WEBSINKURL": f"https://127.0.0.1:{port}/x", "SSL_CERT_FILE": str(file)}
    metrics = PostMetrics(CollectorRegistry())
    async with open_webhook(load(GOOD | settings).sink, metrics) as webhook:
        with pytest.raises(Retryable) as caught:
            await webhook.post([b"{}"])
    return caught.value.status == 404


def test_the_webhook(servers: tuple[list[int], Path]) -> None:
    ports, file = servers
    assert [trio.run(_webhook_trusts, port, file) for port in ports] == [True, True, False]


def test_blob_storage(servers: tuple[list[int], Path]) -> None:
    ports, file = servers

    def trusts(port: int) -> bool:
        blob = f"{BLOB};BlobEndpoint=https://127.0.0.1:{port}/acct"
        settings = {"BLOBSTORAGECONNECTIONSTRING": blob, "SSL_CERT_FILE": str(file)}
        location = load(GOOD | settings).checkpoint.location
        assert isinstance(location, BlobLocation)
        with (
            open_container(location) as container,
            pytest.raises((ResourceNotFoundError, ServiceRequestError)) as caught,
        ):
            container.get_container_properties()
        return isinstance(caught.value, ResourceNotFoundError)

    assert [trusts(port) for port in ports] == [True, True, False]


def test_event_hubs(servers: tuple[list[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ports, file = servers
    monkeypatch.setattr(Receiver, "__init__", lambda self, hub: setattr(self, "_hub", hub))
    receiver = Receiver(load(GOOD | {"SSL_CERT_FILE": str(file)}).hub)  # type: ignore[call-arg]

    def trusts(port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            try:
                receiver._tls.wrap_socket(plain, server_hostname="127.0.0.1").close()
            except ssl.SSLCertVerificationError:
                return False
        return True

    assert [trusts(port) for port in ports] == [True, True, False]


def test_the_public_authorities_stay(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    public = ssl.create_default_context(cafile=certifi.where())
    both = ssl.create_default_context(cafile=bundle(certificate))
    assert both.cert_store_stats()["x509"] == public.cert_store_stats()["x509"] + 1
    assert bundle(None) == certifi.where()


def test_a_file_that_holds_no_authority_is_told(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    _, key = make_certificate(tmp_path)
    not_pem = "names a file that is not a list of certificates in PEM"
    for content, wrong in (
        (b"", "names an empty file"),
        (b" \n", "names an empty file"),
        (b"no PEM", not_pem),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", not_pem),
        (ssl.PEM_cert_to_DER_cert((tmp_path / "falco.crt").read_text()), not_pem),
        (key.read_bytes(), not_pem),
    ):
        file.write_bytes(content)
        assert problem(SSL_CERT_FILE=str(file)) == wrong
    for path in (tmp_path, tmp_path / "missing"):
        wrong = "does not name a file of certificate authorities"
        assert problem(SSL_CERT_FILE=str(path)) == wrong
    # A regular file whose first byte cannot be read, not even by root.
    wrong = "names a file that cannot be read: Input/output error"
    assert problem(SSL_CERT_FILE="/proc/self/mem") == wrong
