"""The highest rate at which a side is steady: by halving, with short runs; then one of the full length."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.capture.load import Load
from benchmarks.capture.probe import Probe, probe
from benchmarks.capture.publisher import Publisher

FIRST = 0.7
"""Of what is written with nobody waiting for a schedule: where the search begins."""
STEP_DOWN, TRIES = 0.8, 8
"""A rate that is steady for seconds may not be for a minute: checkpoints come. The last is a fifth of the first."""


@dataclass(frozen=True)
class Lengths:
    """Seconds of the runs, and how many halvings."""

    full_speed: float
    short: float
    whole: float
    halvings: int


async def highest_steady(publisher: Publisher, load: Load, lengths: Lengths) -> Probe | None:
    """The run of the whole length at the highest rate found; None when none was steady.

    Where it is not steady for the whole length, the rate is taken down, `TRIES` times in all.
    """
    fastest = await probe(publisher, replace(load, rows_per_second=None, seconds=lengths.full_speed))
    assert fastest is not None
    low, high = 0.0, fastest.rows_per_second
    at = FIRST * high
    for _ in range(lengths.halvings):
        found = await probe(publisher, replace(load, rows_per_second=at, seconds=lengths.short))
        if found is not None and found.is_steady:
            low = at
        else:
            high = at
        at = (low + high) / 2
    rate = low or high / 2
    for _ in range(TRIES):
        found = await probe(publisher, replace(load, rows_per_second=rate, seconds=lengths.whole))
        if found is not None and found.is_steady:
            return found
        rate *= STEP_DOWN
    return None
