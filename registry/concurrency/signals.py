"""Signals that end a program: told to its event loop, or raised where that is held up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

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


@contextmanager
def raised_at_once() -> Iterator[None]:
    """Inside the block each signal ends what is waited for there: KeyboardInterrupt, or `SystemExit` with its code.

    For what holds up the event loop, which would be told behind it. One that is ignored, as under nohup, stays so.
    """
    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: object) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def ignore_ending() -> None:
    """From here on it ends; whoever asks once more gets what was asked for. Stopped halfway, servers would be left."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
