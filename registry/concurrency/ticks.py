"""Ticks of one process: whoever looks at something regularly waits for one, so that all of them wake it up together."""

from __future__ import annotations

import asyncio
from random import random

_PHASE_SECONDS = random()  # noqa: S311  # so that the processes of one machine do not all wake at once
EARLY_SECONDS = 0.005
"""uvloop counts in milliseconds, and may wake who sleeps one too early: he would have the same tick again, fifty times
in that millisecond."""


def until_tick(seconds: float) -> float:
    """Seconds until the next tick of those that are `seconds` apart; one within `EARLY_SECONDS` counts as over.

    So it is more than these, and never more than `seconds` and these.
    """
    left = seconds - (asyncio.get_running_loop().time() + _PHASE_SECONDS) % seconds
    return left if left > EARLY_SECONDS else left + seconds


async def tick(seconds: float) -> None:
    """Wait for the next tick of those that are `seconds` apart."""
    await asyncio.sleep(until_tick(seconds))
