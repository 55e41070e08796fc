"""Ticks of one process: whoever looks at something regularly waits for one, so that all of them wake it up together."""

from __future__ import annotations

import asyncio
from random import random

_PHASE_SECONDS = random()  # noqa: S311  # so that the processes of one machine do not all wake at once


def until_tick(seconds: float) -> float:
    """Seconds until the next tick of those that are `seconds` apart: more than 0, and never more than `seconds`."""
    return seconds - (asyncio.get_running_loop().time() + _PHASE_SECONDS) % seconds


async def tick(seconds: float) -> None:
    """Wait for the next tick of those that are `seconds` apart."""
    await asyncio.sleep(until_tick(seconds))
