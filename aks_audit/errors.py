"""Errors named by the reaction they call for, mapped at the border with ``from``."""


class Retryable(Exception):  # noqa: N818 - named by the reaction, not by the fault
    """The other side is sick: the same request may work later."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """The HTTP status, where there was an answer."""
        self.retry_after_s = retry_after_s
        """How long the other side asked us to wait, in seconds."""


class Rejected(Exception):  # noqa: N818 - named by the reaction, not by the fault
    """The other side refuses what we sent: the same bytes will never be taken."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Fatal(Exception):  # noqa: N818 - named by the reaction, not by the fault
    """Nothing in this process can mend it: the process ends with ``exit_status``."""

    def __init__(self, reason: str, *, exit_status: int = 1) -> None:
        super().__init__(reason)
        self.exit_status = exit_status
