"""Sparklines: a row of values as the path of a small picture, which needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 240, 48


class Spark(NamedTuple):
    """A line, and what it says in words."""

    path: str
    now: float | None
    most: float


def spark(values: Sequence[float | None]) -> Spark:
    """The line through `values`, oldest first; over those that are None it goes straight on."""
    known = [value for value in values if value is not None]
    most = max(known, default=0.0)
    step = WIDTH / max(len(values) - 1, 1)
    parts: list[str] = []
    for index, value in enumerate(values):
        if value is not None:
            height = HEIGHT - 2 - (HEIGHT - 4) * (value / most if most else 0)
            parts.append(f"{'L' if parts else 'M'}{index * step:.1f} {height:.1f}")
    return Spark(" ".join(parts), values[-1] if values else None, most)
