"""When a POST that failed is tried again. Pure."""

from ..config.settings import SinkConfig
from ..errors import Retryable

HOLD_PROBE_MAX_S = 4.0
"""While events are held, the longest pause between two probes of the endpoint: short
enough to be back within 5 s of its return, long enough to cost it nothing."""
RETRY_DELAY_MAX_S = 30.0
"""The longest pause between two retries, however many POSTMAXRETRIES allows."""


def retry_pause_s(config: SinkConfig, retries: int, fault: Retryable, *, held: bool) -> float:
    """Seconds before the n-th retry: n * POSTRETRYINCREMENTALDELAY, or what was asked for."""
    # Whoever probes holds up all the others, also one that has retries left.
    ceiling = HOLD_PROBE_MAX_S if held else RETRY_DELAY_MAX_S
    return max(min(retries * config.retry_delay_s, ceiling), fault.retry_after_s)
