"""The one error of the emulator: a request the service would answer with an AMQP error."""

from __future__ import annotations

# The conditions the service uses. The names with `amqp:` are those of the AMQP 1.0
# specification, part 2.8; the vendor's are listed in
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot.
NOT_FOUND = "amqp:not-found"
UNAUTHORIZED_ACCESS = "amqp:unauthorized-access"
DECODE_ERROR = "amqp:decode-error"
RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
LINK_STOLEN = "amqp:link:stolen"
LINK_DETACH_FORCED = "amqp:link:detach-forced"
MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
AUTH_FAILED = "com.microsoft:auth-failed"
ARGUMENT_ERROR = "com.microsoft:argument-error"
ARGUMENT_OUT_OF_RANGE = "com.microsoft:argument-out-of-range"


class RefusedError(Exception):
    """A request that is answered with an AMQP error.

    `condition` is the symbol of the error, `description` the text for people.
    """

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description
