"""The end of a program that runs servers: whoever ends it, they end with it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_order(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`. SIGTERM ends it as Ctrl-C does, so that all it started is stopped before this process ends."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    return asyncio.run(main)
