"""What was measured of one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.capture.judge import Verdict
from benchmarks.capture.probe import Cpu, Probe
from benchmarks.capture.search import Highest

ONE_ROW, BULK = "one row", "bulk"
RANDOM, RANDOM_KILLED = "random rows", "random rows, a kill"
HOT, HOT_KILLED = "hot rows", "hot rows, three kills"
KINDS = (RANDOM, RANDOM_KILLED, HOT, HOT_KILLED)
"""Under which a run counts for what is lost, doubled and reordered."""


class Run(NamedTuple):
    """One run whose stream was judged."""

    kind: str
    name: str
    verdict: Verdict


@dataclass
class Found:
    """What was measured of one side, by rounds where it takes turns."""

    even: list[Probe] = field(default_factory=list)
    """At the rate that all sides are given; none where it does not keep up with it."""
    update_seconds: list[float] = field(default_factory=list)
    highest: dict[str, list[Highest]] = field(default_factory=lambda: {ONE_ROW: [], BULK: []})
    """By load."""
    killed: dict[str, Probe] = field(default_factory=dict)
    """By load, at the rate that was found first."""
    hot: dict[str, Probe] = field(default_factory=dict)
    """By kind, of few rows at full speed."""

    def rates(self, load: str) -> list[float]:
        """Of each round; 0 where none was steady."""
        return [one.rate for one in self.highest[load]]

    def costs(self, load: str, part: Callable[[Cpu], float]) -> list[float | None]:
        """A part of the CPU time, of each round; None where no rate was steady."""
        return [part(one.probe.cpu) if one.probe is not None else None for one in self.highest[load]]

    @property
    def runs(self) -> list[Run]:
        """Every run whose stream was judged."""
        return [Run(kind, name, one.verdict) for kind, name, one in self._runs() if one is not None and one.verdict]

    def _runs(self) -> Iterator[tuple[str, str, Probe | None]]:
        for number, even in enumerate(self.even, start=1):
            yield RANDOM, f"one row at the even rate, round {number}", even
        for load, rounds in self.highest.items():
            for number, found in enumerate(rounds, start=1):
                yield RANDOM, f"{load} at the highest rate, round {number}", found.probe
        for load, killed in self.killed.items():
            yield RANDOM_KILLED, f"{load} over a kill", killed
        for kind, hot in self.hot.items():
            yield kind, kind, hot
