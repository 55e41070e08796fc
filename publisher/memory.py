"""The memory of a service that runs for months: what a large row needed goes back to the system; and how often cycles
are looked for, which a short command does not need.
"""

from __future__ import annotations

import gc
from contextlib import suppress

LARGE_BYTES = 128 * 1024
"""glibc's own threshold, before it has met a larger block."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of `mallopt` (malloc.h)."""
COLLECTED_AFTER = 200_000
"""So many more objects are there before the collector of cycles looks at them, in place of Python's own number."""
_OWN = gc.get_threshold()
"""Python's: it differs by version."""


def give_back() -> None:
    """From now on each block of more than `LARGE_BYTES` is mapped by itself, and unmapped when it is freed.

    glibc raises that threshold to the largest block that was ever freed, up to 32 MiB: after one row of 7 MiB such
    blocks come out of the heap, between whose small ones they leave holes. Publishing 40 of them took 170 MiB at most,
    and 125 MiB so. Where the C library has no such option, as musl, it needs none.
    """
    import ctypes  # a short command has no use of it

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, LARGE_BYTES)


def collect_rarely() -> None:
    """From now on cycles are looked for rarely: to look at what imports make is a tenth of a short command's time."""
    gc.set_threshold(COLLECTED_AFTER)


def collect_as_usual() -> None:
    """From now on cycles are looked for as often as Python does, and not among what is there now, which stays.

    To look at that again at each collection is a tenth of a drain's time.
    """
    gc.freeze()
    gc.set_threshold(*_OWN)
