"""The memory of a service that runs for months: what a large row needed goes back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

LARGE_BYTES = 128 * 1024
"""glibc's own threshold, before it has met a larger block."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of `mallopt` (malloc.h)."""


def give_back() -> None:
    """From now on each block of more than `LARGE_BYTES` is mapped by itself, and unmapped when it is freed.

    glibc raises that threshold to the largest block that was ever freed, up to 32 MiB: after one row of 7 MiB such
    blocks come out of the heap, between whose small ones they leave holes. Publishing 40 of them took 170 MiB at most,
    and 125 MiB so. Where the C library has no such option, as musl, it needs none.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, LARGE_BYTES)
