"""What was measured of one side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.capture.probe import Cpu, Probe
from benchmarks.capture.search import Highest

ONE_ROW, BULK = "one row", "bulk"


@dataclass
class Found:
    """What was measured of one side."""

    even: Probe
    """At the rate that all sides are given."""
    update_seconds: float
    highest: dict[str, list[Highest]] = field(default_factory=lambda: {ONE_ROW: [], BULK: []})
    """By load, of each round."""
    killed: dict[str, Probe] = field(default_factory=dict)
    """By load, at the rate that was found first."""

    def rates(self, load: str) -> list[float]:
        """Of each round; 0 where none was steady."""
        return [one.rate for one in self.highest[load]]

    def cost(self, load: str, part: Callable[[Cpu], float]) -> float | None:
        """The median over the rounds of a part of the CPU time; None where no rate was steady."""
        held = [part(one.probe.cpu) for one in self.highest[load] if one.probe is not None]
        return median(held) if held else None

    @property
    def runs(self) -> dict[str, Probe]:
        """Every run whose stream was judged."""
        held = {
            f"{load} at the highest rate, round {number}": one.probe
            for load, rounds in self.highest.items()
            for number, one in enumerate(rounds, start=1)
        }
        killed = {f"{load} over a kill": one for load, one in self.killed.items()}
        every = {"one row at the even rate": self.even, **held, **killed}
        return {name: one for name, one in every.items() if one is not None and one.verdict is not None}
