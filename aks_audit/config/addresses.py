"""Azure's connection strings and the sink's URL, checked before the program connects to anything.

The SDKs check little and say less ("Connection string is either blank or malformed."), some of it
only at the first request, and importing them takes longer than the rest of the start. So the rules
stand here; the tests compare them with the SDKs' own parsers. As in `parsers`, a ValueError says
what is wrong and never repeats any of the text, which is secret.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from .parsers import hub_name, invalid, is_authority
from .values import Secret

_STORAGE_KEYS = frozenset(
    {
        "accountname",
        "accountkey",
        "blobendpoint",
        "defaultendpointsprotocol",
        "usedevelopmentstorage",
    }
)
_HUB_KEYS = frozenset({"endpoint", "sharedaccesskeyname", "sharedaccesskey", "entitypath"})
_SECRET_KEYS = ("sharedaccesskey", "accountkey", "sharedaccesssignature")

# What UseDevelopmentStorage=true stands for: Python's storage SDK does not know that setting.
# Account and key are published constants of Microsoft's storage emulator, not a secret.
_DEVELOPMENT_STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1"
)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """What an Event Hubs connection string says."""

    connection_string: Secret
    """As it was given."""
    namespace: str
    """Host and port of the endpoint, as the SDK reads them."""
    entity_path: str | None
    """The event hub; None where the string does not name one."""


@dataclass(frozen=True, slots=True)
class SinkUrl:
    """Where to post."""

    url: Secret
    """As it was given."""
    display: str
    """Without user information, query and fragment."""
    has_path: bool
    """Whether anything but "/" follows the host."""


def _pairs(text: str) -> dict[str, str]:
    """Split the text as the SDKs do; the names become lower case."""
    if not text.isascii() or not text.isprintable():
        invalid("holds a line break or a character outside ASCII (a typographic quote or dash?)")
    if "=" not in text.rstrip("="):
        invalid("is not a list of Name=value pairs joined by ';' (is it still base64-encoded?)")
    found: dict[str, str] = {}
    for part in text.rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            invalid("is not a list of Name=value pairs joined by ';' (was it cut?)")
        if name.lower() in found:
            invalid("gives the same name twice")
        found[name.lower()] = value
    return found


def _flag(pairs: dict[str, str], name: str, shown: str) -> bool:
    """Read a flag. The SDK silently takes everything but a lower-case "true" for false."""
    value = pairs.get(name, "false")
    if value not in {"true", "false"}:
        invalid(f"has {shown} that is neither true nor false, in lower case")
    return value == "true"


def hub_connection_string(text: str) -> HubAddress:
    """Check an Event Hubs connection string. Raises ValueError."""
    pairs = _pairs(text)
    if pairs.keys() & _STORAGE_KEYS:
        invalid("is a storage account's connection string, not an Event Hubs namespace's")
    endpoint = pairs.get("endpoint")
    if endpoint is None:
        invalid("has no Endpoint=sb://...")
    match = re.fullmatch(r"sb://([^/]+)/*", endpoint, re.IGNORECASE)
    if not match or not is_authority(match[1]):
        invalid("has an Endpoint that is not sb:// with a host name")
    _check_hub_key(pairs)
    _flag(pairs, "usedevelopmentemulator", "a UseDevelopmentEmulator")
    entity = pairs.get("entitypath")
    if entity is not None:
        try:
            hub_name(entity)
        except ValueError as error:
            invalid(f"has an EntityPath that {error}")
    return HubAddress(Secret(text), match[1], entity)


def _check_hub_key(pairs: dict[str, str]) -> None:
    key, name = "sharedaccesskey" in pairs, "sharedaccesskeyname" in pairs
    signature = "sharedaccesssignature" in pairs
    if signature and (key or name):
        invalid("has both a SharedAccessKey and a SharedAccessSignature")
    if not signature and not key:
        invalid("has neither a SharedAccessKey nor a SharedAccessSignature (was it cut?)")
    if key and not name:
        invalid("has no SharedAccessKeyName")


def blob_connection_string(text: str) -> Secret:
    """Check a storage account's connection string. Raises ValueError."""
    pairs = _pairs(text)
    if _flag(pairs, "usedevelopmentstorage", "a UseDevelopmentStorage"):
        return Secret(_DEVELOPMENT_STORAGE)
    if pairs.keys() & _HUB_KEYS:
        invalid("is an Event Hubs connection string, not a storage account's")
    _check_blob_key(pairs)
    _check_blob_endpoint(pairs)
    return Secret(text)


def _check_blob_key(pairs: dict[str, str]) -> None:
    key = pairs.get("accountkey")
    if key is None:
        if "sharedaccesssignature" not in pairs:
            invalid("has neither an AccountKey nor a SharedAccessSignature (was it cut?)")
        return
    if "accountname" not in pairs:
        invalid("has an AccountKey but no AccountName")
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        invalid("has an AccountKey that is not base64 (was it cut?)")


def _check_blob_endpoint(pairs: dict[str, str]) -> None:
    endpoint, account = pairs.get("blobendpoint"), pairs.get("accountname")
    if endpoint is not None:
        try:
            _split(endpoint)
        except ValueError as error:
            invalid(f"has a BlobEndpoint that {error}")
        return
    if account is None:
        invalid("has neither a BlobEndpoint nor an AccountName")
    if "blobsecondaryendpoint" in pairs:
        invalid("has a BlobSecondaryEndpoint but no BlobEndpoint")
    if not re.fullmatch(r"[a-z0-9-]{3,24}", account):
        invalid("has an AccountName that is not 3 to 24 lower-case letters and digits")
    if pairs.get("defaultendpointsprotocol", "https") not in {"http", "https"}:
        invalid("has a DefaultEndpointsProtocol that is neither http nor https")
    if not is_authority(pairs.get("endpointsuffix", "core.windows.net")):
        invalid("has an EndpointSuffix that is not a host name")


def _split(text: str) -> SplitResult:
    # urlsplit silently drops tabs and line breaks, so this check comes first.
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        invalid("holds a blank, a backslash or a character outside ASCII: percent-encode it")
    try:
        parts = urlsplit(text)
    except ValueError:
        invalid("is not a URL")
    if parts.scheme not in {"http", "https"}:
        invalid("does not begin with http:// or https://")
    if not is_authority(parts.netloc.rpartition("@")[2]):
        invalid("has no host, or something beside host and port where they belong")
    if "@" in text.partition("://")[2].partition(parts.netloc)[2]:
        # A "/", "?" or "#" within a password ends the host early: the rest of the password would
        # count as the path, and would be shown.
        invalid("holds an @ after the host: percent-encode it, and '/', '?', '#' in a password")
    return parts


def sink_url(text: str) -> SinkUrl:
    """Check the URL that is posted to. Raises ValueError."""
    parts = _split(text)
    host = parts.netloc.rpartition("@")[2]
    return SinkUrl(
        Secret(text), f"{parts.scheme}://{host}{parts.path}", parts.path not in {"", "/"}
    )


def sensitive_in_connection_string(secret: Secret) -> Iterator[str]:
    """Yield what must not be shown of a connection string: the whole, its key or signature."""
    text = secret.reveal()
    yield text
    for name, value in _pairs(text).items():
        if name in _SECRET_KEYS:
            yield value
            yield from (v for k, v in parse_qsl(value) if k == "sig")


def sensitive_in_url(secret: Secret) -> Iterator[str]:
    """Yield what must not be shown of a URL: the whole, the password and the query's values."""
    parts = urlsplit(secret.reveal())
    userinfo, _, _ = parts.netloc.rpartition("@")
    if userinfo or parts.query:
        yield secret.reveal()
    password = userinfo.partition(":")[2] or userinfo  # a token may stand without a user name
    yield from {password, unquote(password)}
    for _, value in parse_qsl(parts.query):
        yield from {value, quote(value, safe="")}
