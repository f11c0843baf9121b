"""Errors named by the reaction they call for, mapped at the border with ``from``.

`describe` is the one place that turns a fault into text for a log line, a probe
or a message.
"""

from collections.abc import Iterator


class Retryable(Exception):
    """The other side is sick: the same request may work later."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """The HTTP status, where there was an answer."""
        self.retry_after_s = retry_after_s
        """How long the other side asked us to wait, in seconds."""


class Broken(Retryable):
    """The other side went away: it may have lost what it took before."""


class Silent(Retryable):
    """The other side does not answer: it is slow, or it went away."""


class Rejected(Exception):
    """The other side refuses what we sent: the same bytes will never be taken."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Fatal(Exception):
    """Nothing in this process can mend it: the process ends with ``exit_status``."""

    def __init__(self, reason: str, *, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


def describe(error: BaseException) -> str:
    """What went wrong, on one line: the kind of the error, and the first line of its text.

    Where an error has no text, that of its nearest cause is taken (httpx raises TLS failures
    without one). The SDK's texts run over many lines, and what Event Hubs itself said comes
    after "Error Description:".
    """
    kind = type(error).__name__
    for cause in _causes(error):
        text = str(cause)
        said = (text.partition("Error Description:")[2] or text).strip().partition("\n")[0].strip()
        if said:
            return f"{kind}: {said}"
    return kind


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
