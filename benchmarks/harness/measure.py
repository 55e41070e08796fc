"""What a benchmark hands back, and how rounds are run: interleaved, so that noise of the machine meets every side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Series:
    """One contestant: a value per round, in `unit`."""

    name: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """The middle value: what the page shows."""
        return median(self.values)


@dataclass(frozen=True)
class Target:
    """A promise about a figure: a limit on one side, and what was measured, or why nothing was."""

    figure: str
    unit: str
    measured: float | None
    at_least: float | None = None
    at_most: float | None = None
    reason: str = ""
    """Why there is no measurement."""
    bound: str = ""
    """What keeps it from being met, and the series that shows it; told where it is not met."""

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or why it is not known."""
        if self.measured is None:
            return f"not measured: {self.reason}"
        too_low = self.at_least is not None and self.measured < self.at_least
        too_high = self.at_most is not None and self.measured > self.at_most
        return "not met" if too_low or too_high else "met"


@dataclass(frozen=True)
class Curve:
    """How figures change with one size: line name to its (size, value) points."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass
class Report:
    """All that one benchmark found."""

    name: str
    about: str
    """What is measured against what, for the reader of the page."""
    series: list[Series] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    measured: str = ""
    """When, and at which commit."""
    busy_percent: float | None = None
    """Of all processors, by other programs just before; None where nobody looked."""

    def add(self, name: str, unit: str, values: Sequence[float]) -> None:
        """Record a series. Raises `RuntimeError` for a value below 0: a figure is a rate, a time or a count."""
        if min(values) < 0:
            raise RuntimeError(f"{name}: {min(values):g} {unit} was measured; a figure is 0 or more")
        self.series.append(Series(name, unit, list(values)))


async def interleaved(
    contestants: Mapping[str, Callable[[], Awaitable[float]]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run every contestant once a round, `rounds` times; a first round is thrown away with `warm_up`.

    Every second round goes backwards, so that nobody always runs behind the same neighbour.
    """
    values: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(-1 if warm_up else 0, rounds):
        for name in order if number % 2 == 0 else reversed(order):
            value = await contestants[name]()
            if number >= 0:
                values[name].append(value)
    return values


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours divided by theirs of the same round."""
    return median(mine / their for mine, their in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def number(value: float) -> str:
    """Three significant digits, or all of them before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
