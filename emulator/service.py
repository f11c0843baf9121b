"""What all connections share: the broker, who reads what, and how the service is behaving."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .receivers import Receivers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .broker import Broker

DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024
"""Message limit of the Standard and Premium tiers."""


@dataclass(frozen=True, slots=True)
class AuthRefusal:
    """The answer to `put-token` while authentication is refused: an HTTP status and its text."""

    status: int = 401
    description: str = (
        "Unauthorized access. 'Listen' claim(s) are required to perform this operation."
    )


@dataclass(slots=True)
class Service:
    """The state of the emulated service besides its events.

    `max_message_bytes` is announced on every link. `keys` are the keys, by name, that tokens
    have to be signed with; without any, every token is taken and none is needed.
    `auth_refusal` and `delivery_delay` (seconds) are faults: None and 0 in good health.
    `refused_tokens` counts the tokens that were not taken.
    """

    broker: Broker
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    keys: Mapping[str, str] = field(default_factory=dict)
    receivers: Receivers = field(default_factory=Receivers)
    auth_refusal: AuthRefusal | None = None
    delivery_delay: float = 0.0
    refused_tokens: int = 0
