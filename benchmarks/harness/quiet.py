"""How busy other programs keep the processors, and waiting until they do so less."""

from __future__ import annotations

from collections.abc import Callable

import psutil

LOOK_SECONDS = 3.0
LOOKS = 100
"""Five minutes: most of what others do on a shared machine is over by then."""


def look() -> float:
    """Percent of all processors that were busy while somebody looked."""
    return float(psutil.cpu_percent(interval=LOOK_SECONDS))


def until_quiet(at_most: float, look: Callable[[], float] = look) -> float:
    """How busy the processors are, in percent: not more than `at_most`, or what the last of `LOOKS` had."""
    percent = look()
    for _ in range(LOOKS - 1):
        if percent <= at_most:
            break
        percent = look()
    return percent
