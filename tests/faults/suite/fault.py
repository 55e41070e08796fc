"""A fault: a name, what it does to an installation, and how that is undone."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from tests.faults.suite.installation import Installation

Inject = Callable[[Installation, random.Random], AsyncIterator[None]]
"""Does harm up to its `yield`, and undoes it behind that."""


class Fault(NamedTuple):
    """One kind of fault."""

    name: str
    target: str
    """What it hurts; of two faults at once each hurts something else."""
    context: Callable[[Installation, random.Random], AbstractAsyncContextManager[None]]
    """Hurts for its block."""
    longest_seconds: float
    """How long it lasts at most; shorter ones are more frequent."""
    weight: float
    """How often it is chosen, compared with others."""
    lacks: str | None
    """What this machine lacks for it; then it is left out."""


ALONE = "everything"
"""The target of a kind that no other may accompany."""
FAULTS: dict[str, Fault] = {}
"""Every kind by its name; `tests/faults/suite/kinds` declares them."""


def fault(
    name: str, on: str, *, longest_seconds: float = 4.0, weight: float = 1.0, lacks: str | None = None
) -> Callable[[Inject], Inject]:
    """Declare a kind of fault: an async generator that injects, yields, and heals."""

    def declare(inject: Inject) -> Inject:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, on, asynccontextmanager(inject), longest_seconds, weight, lacks)
        return inject

    return declare
