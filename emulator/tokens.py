"""Which tokens are taken and what they allow: shared access signatures, as the service checks them.

A token is `SharedAccessSignature sr=<resource>&sig=<signature>&se=<expiry>&skn=<key name>`.
The signature is the HMAC-SHA256, under the named key, of the url-encoded resource, a line
feed and the expiry in seconds since the Unix epoch
(https://learn.microsoft.com/azure/event-hubs/authenticate-shared-access-signature).
Conditions and wordings are those that the SDKs' own tests expect of the service
(Azure/azure-sdk-for-go, `sdk/messaging/azeventhubs`: "InvalidSignature", "ExpiredToken").
"""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from .addresses import MANAGEMENT, path_of
from .errors import AUTH_FAILED, UNAUTHORIZED_ACCESS, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME = "SharedAccessSignature "
LISTEN, SEND = "Listen", "Send"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token allows: a path with all that is below it, until a Unix time in seconds."""

    path: str
    expires: int

    def covers(self, path: str) -> bool:
        """Tell whether a path is this one or below it; names ignore case."""
        own, other = self.path.lower(), path.lower()
        return not own or other == own or other.startswith(f"{own}/")


def signature(key: str, resource: str, expiry: str) -> str:
    """Sign an url-encoded resource and an expiry; return the signature in base64."""
    signed = hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), sha256)
    return b64encode(signed).decode()


def check_token(token: str, keys: Mapping[str, str], now: float) -> Claim:
    """Return what a token allows; raises RefusedError unless one of the keys has signed it.

    `keys` are keys by name, `now` is the Unix time in seconds.
    """
    fields = _fields(token)
    resource, expiry = fields.get("sr", ""), fields.get("se", "")
    key = keys.get(unquote_plus(fields.get("skn", "")))
    given = unquote_plus(fields.get("sig", "")).encode()
    if key is None or not hmac.compare_digest(signature(key, resource, expiry).encode(), given):
        raise RefusedError(AUTH_FAILED, "InvalidSignature: The token has an invalid signature.")
    if not expiry.isdecimal() or int(expiry) <= now:
        text = f"ExpiredToken: The token is expired. Expiration time: {expiry}."
        raise RefusedError(AUTH_FAILED, text)
    return Claim(path_of(unquote_plus(resource)), int(expiry))


def _fields(token: str) -> dict[str, str]:
    if not token.startswith(_SCHEME):
        raise RefusedError(AUTH_FAILED, "InvalidIssuer: Token issuer is invalid.")
    pairs = (field.partition("=") for field in token.removeprefix(_SCHEME).split("&"))
    return {name: value for name, _, value in pairs}


class Authorization:
    """What a connection may do: everything, unless there are keys that have to sign for it."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._claims: dict[str, Claim] = {}

    def put_token(self, token: object) -> None:
        """Take a token; raises RefusedError for one that is not valid."""
        if not self._keys:
            return
        claim = check_token(str(token), self._keys, time.time())
        self._claims[claim.path.lower()] = claim

    def check(self, address: str, claim: str) -> None:
        """Raise RefusedError unless a token allows to attach to an address.

        To ask `$management`, a token for anything is enough. `claim` is what an error says is
        missing.
        """
        path, now = path_of(address), time.time()
        valid = [each for each in self._claims.values() if each.expires > now]
        if self._keys and not any(path == MANAGEMENT or each.covers(path) for each in valid):
            text = f"Unauthorized access. '{claim}' claim(s) are required to perform this operation"
            raise RefusedError(UNAUTHORIZED_ACCESS, f"{text}. Resource: '{path}'.")
