"""The highest rate at which a side is steady: by halving, with short runs; then one of the full length."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.capture.load import Load
from benchmarks.capture.probe import Probe, probe
from benchmarks.capture.publisher import Publisher

FIRST = 0.7
"""Of what is written with nobody waiting for a schedule: where the search begins."""
AROUND = (0.9, 1.15)
"""Of the rate that an earlier round found: where another one looks."""
STEP_DOWN, TRIES = 0.8, 8
"""A rate that is steady for seconds may not be for a minute: checkpoints come. The last is a fifth of the first."""


@dataclass(frozen=True)
class Lengths:
    """Seconds of the runs, and how many halvings."""

    full_speed: float
    short: float
    whole: float
    halvings: int


@dataclass(frozen=True)
class Tried:
    """A rate, for how long, and whether it held."""

    rate: float
    seconds: float
    held: bool

    def __str__(self) -> str:
        return f"{self.rate:,.0f} for {self.seconds:g} s {'held' if self.held else 'failed'}"


@dataclass(frozen=True)
class Highest:
    """The run of the whole length at the highest rate found; None when none was steady."""

    probe: Probe | None
    tried: tuple[Tried, ...]

    @property
    def rate(self) -> float:
        """Rows a second; 0 when none was steady."""
        return self.probe.rows_per_second if self.probe is not None else 0.0


async def highest_steady(publisher: Publisher, load: Load, lengths: Lengths, near: float = 0.0) -> Highest:
    """Look for it, in few steps where it is known to be `near` a rate.

    Where a rate is not steady for the whole length, it is taken down, `TRIES` times in all, and then up again by half
    of the last step.
    """
    tried: list[Tried] = []

    async def held(rate: float, seconds: float) -> Probe | None:
        found = await probe(publisher, replace(load, rows_per_second=rate, seconds=seconds))
        is_steady = found is not None and found.is_steady
        tried.append(Tried(rate, seconds, is_steady))
        return found if is_steady else None

    if near:
        (low, high), at, halvings = (near * share for share in AROUND), near, min(lengths.halvings, 2)
    else:
        fastest = await probe(publisher, replace(load, rows_per_second=None, seconds=lengths.full_speed))
        assert fastest is not None
        low, high, halvings = 0.0, fastest.rows_per_second, lengths.halvings
        at = FIRST * high
    for _ in range(halvings):
        low, high = (at, high) if await held(at, lengths.short) is not None else (low, at)
        at = (low + high) / 2
    rate = low or high / 2
    failed, found = 0.0, None
    for _ in range(TRIES):
        found = await held(rate, lengths.whole)
        if found is not None:
            break
        failed, rate = rate, rate * STEP_DOWN
    if found is not None and failed:
        found = await held((rate + failed) / 2, lengths.whole) or found
    return Highest(found, tuple(tried))
