"""How long PostgreSQL may work and say nothing, for whoever waits for the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WORDLESS_SECONDS: ContextVar[float | None] = ContextVar("WORDLESS_SECONDS", default=None)
"""Of one statement, without a word; None: as long as it likes. No other session can tell one that works from one that
is stopped."""


@contextmanager
def wordless(seconds: float | None) -> Iterator[None]:
    """Let PostgreSQL work for so long inside the block."""
    token = WORDLESS_SECONDS.set(seconds)
    try:
        yield
    finally:
        WORDLESS_SECONDS.reset(token)
