"""What the C library does with memory that is free.

A training step frees what it has made, a few hundred MB, and the next one makes the same again.
glibc gives much of it back to the system in between, which hands it out page by page, emptied anew:
12,000 page faults a step of 130 captions on cached features, 4 % of its time. Keeping it costs
nothing that a step doesn't need anyway.
"""

import ctypes
import sys

# By their numbers in glibc's malloc.h.
_SETTINGS = (
    (-2, 64 << 20),  # M_TOP_PAD: what a heap keeps at its end when it is cut
    (-1, 1 << 30),  # M_TRIM_THRESHOLD: how much is free there before it is
    # M_MMAP_THRESHOLD: blocks as large have a mapping of their own, unmapped when they are freed.
    # It no longer adapts once another is set, and glibc takes no more than 32 MiB.
    (-3, 32 << 20),
)


def keep_freed() -> bool:
    """Has the process keep what it frees for what it makes next.

    To be called before TensorFlow has begun any threads: heaps that they have made already stay as
    they are.

    Returns:
        whether it does; C libraries other than glibc have their own ways.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(*setting) for setting in _SETTINGS])
