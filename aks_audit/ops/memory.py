"""Giving memory back that was used once.

Hub events of up to 1 MB come and go by the hundred. glibc takes the first of
them that is freed as a sign to keep all that size on its heap, where whatever
small object was put between two of them keeps the rest from being given back:
with 32 partitions of 1 MB hub events that were 40 to 70 MB (measured).
"""

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 128 * 1024
"""From this size on memory is mapped, and given back when it is freed. A typical hub event of
32 KB, and all that is made of it, stays on the heap, where it is cheaper."""


def give_back_large_blocks() -> None:
    """Have glibc keep no large block that is free. Another C library goes its own way."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
