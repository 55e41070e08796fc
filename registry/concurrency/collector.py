"""Python's collector of cycles, at rest while many objects are made that hold none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class _Resting:
    """How many need it at rest. The first stops it, the last starts it again, if it ran: in whatever order they end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._many = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            if not self._many:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._many += 1

    def end(self) -> None:
        with self._lock:
            self._many -= 1
            if not self._many and self._was_enabled:
                gc.enable()


_resting = _Resting()


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No collection of cycles in this process during the block. Blocks may overlap, in tasks and threads."""
    _resting.begin()
    try:
        yield
    finally:
        _resting.end()
