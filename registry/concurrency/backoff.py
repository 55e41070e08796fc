"""Waits between tries that fail: they double up to a longest one."""

from __future__ import annotations

import asyncio
from time import monotonic

RETRY_SECONDS = (0.05, 2.0)
"""First and longest wait before a server that was away is tried again."""
MOST_DOUBLINGS = 64
"""More than any longest wait needs; 2 to the power of a count that grows for days is too large for a float."""


def doubled(failures: int, seconds: tuple[float, float]) -> float:
    """Seconds to wait once more than `failures` tries have failed; `seconds` are the first and the longest wait."""
    first, longest = seconds
    return min(first * 2.0 ** min(failures, MOST_DOUBLINGS), longest)


class Backoff:
    """Waits that double from one failure to the next, and start over after a quiet time."""

    def __init__(self) -> None:
        self._failures = 0
        self._last_failure = monotonic()

    async def sleep(self) -> None:
        """Wait after a failure. To say what failed is for an `Outage`."""
        if monotonic() - self._last_failure > 5 * RETRY_SECONDS[1]:
            self._failures = 0
        await asyncio.sleep(doubled(self._failures, RETRY_SECONDS))
        self._failures += 1
        self._last_failure = monotonic()
