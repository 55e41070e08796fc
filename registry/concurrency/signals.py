"""Signals that end a program, told to its event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def tell_loop(number: int, told: Callable[[], object]) -> None:
    """Call `told` in the running event loop at each signal `number`, until something else is done with it.

    Not by the loop's own handlers: those leave a signal to its default, which is to end at once, for the moment in
    which another takes their place, and for good when the loop is closed. A SIGHUP that is ignored, as under nohup,
    stays so.
    """
    loop = asyncio.get_running_loop()
    if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(told))


def ignore_ending() -> None:
    """From here on it ends; whoever asks once more gets what was asked for. Stopped halfway, servers would be left."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
