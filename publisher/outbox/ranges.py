"""A set of integers kept as sorted half-open ranges: the published set, whose holes are the gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class RangeSet:
    """Integers as ranges `[low, high)`; normally one range, so every operation is cheap."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._lows, self._highs, strict=True)

    def __len__(self) -> int:
        """Number of ranges, not of integers."""
        return len(self._lows)

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._lows, value) - 1
        return at >= 0 and value < self._highs[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    __hash__ = None  # type: ignore[assignment]  # mutable

    @property
    def upper(self) -> int:
        """The least integer above all ranges; 1 for the empty set: outbox ids begin there."""
        return self._highs[-1] if self._highs else 1

    def add(self, low: int, high: int) -> None:
        """Add the integers from `low` to before `high`, joining ranges that touch. An empty range adds nothing."""
        if low >= high:
            return
        first = bisect_left(self._highs, low)
        last = bisect_right(self._lows, high)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def add_all(self, values: Iterable[int]) -> None:
        """Add single integers."""
        for value in values:
            if self._highs and self._highs[-1] == value:
                self._highs[-1] = value + 1  # the common case: the next integer
            else:
                self.add(value, value + 1)

    def gaps(self, start: int = 1) -> list[tuple[int, int]]:
        """The holes between `start` and `upper`, lowest first."""
        holes = []
        for low, high in self:
            if start < low:
                holes.append((start, low))
            start = max(start, high)
        return holes

    def fill(self, end: int, start: int = 1) -> list[tuple[int, int]]:
        """Add all integers from `start` to before `end`; returns the ranges that were missing, lowest first."""
        missing = [(low, min(high, end)) for low, high in self.gaps(start) if low < end]
        if self.upper < end:
            missing.append((max(self.upper, start), end))
        for low, high in missing:
            self.add(low, high)
        return missing

    def copy(self) -> RangeSet:
        """An independent copy."""
        twin = RangeSet()
        twin._lows, twin._highs = self._lows.copy(), self._highs.copy()
        return twin

    def as_multirange(self) -> str:
        """PostgreSQL's text form, e.g. `{[1,5),[7,8)}`."""
        return multirange(self)


def runs(values: Iterable[int]) -> list[tuple[int, int]]:
    """`values` in their order as half-open ranges of consecutive integers, e.g. `[(1, 4), (7, 8), (4, 5)]`."""
    found: list[tuple[int, int]] = []
    for value in values:
        if found and found[-1][1] == value:
            found[-1] = (found[-1][0], value + 1)
        else:
            found.append((value, value + 1))
    return found


def multirange(ranges: Iterable[tuple[int, int]]) -> str:
    """Half-open ranges in PostgreSQL's text form, e.g. `{[1,5),[7,8)}`."""
    return "{" + ",".join(f"[{low},{high})" for low, high in ranges) + "}"


def range_array(ranges: Iterable[tuple[int, int]]) -> str:
    """Half-open ranges, in their order, in PostgreSQL's text form of an array, e.g. `{"[7,8)","[1,5)"}`."""
    return "{" + ",".join(f'"[{low},{high})"' for low, high in ranges) + "}"
