"""Sparklines: a row of values as the path of a small picture, which needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 240, 48
SPANNED = 5
"""Values that are None over which a line goes on; `charts.js` has the same."""


class Spark(NamedTuple):
    """A line, and what it says in words."""

    path: str
    most: float


def spark(values: Sequence[float | None]) -> Spark:
    """The line through `values`, oldest first; over a few that are None it goes straight on, and ends before more."""
    known = [value for value in values if value is not None]
    most = max(known, default=0.0)
    step = WIDTH / max(len(values) - 1, 1)
    parts: list[str] = []
    last: int | None = None
    for index, value in enumerate(values):
        if value is not None:
            height = HEIGHT - 2 - (HEIGHT - 4) * (value / most if most else 0)
            goes_on = last is not None and index - last <= SPANNED + 1
            parts.append(f"{'L' if goes_on else 'M'}{index * step:.1f} {height:.1f}")
            last = index
    return Spark(" ".join(parts), most)
