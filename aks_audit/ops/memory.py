"""Giving memory back that is not used any more.

Hub events of up to 1 MB come and go by the hundred. When the first is freed, glibc begins to
keep all blocks of that size on its heap. There a small object between two of them keeps the rest
from being given back: with 32 partitions of 1 MB hub events that was 40 to 70 MB (measured).
"""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024
"""Blocks of this size and more are mapped, and given back when they are freed. A typical hub event
of 32 KB, and all that is made of it, stays on the heap, where it is cheaper."""


def give_back_large_blocks() -> None:
    """Have glibc give free large blocks back. Another C library is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
