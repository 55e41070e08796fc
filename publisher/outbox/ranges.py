"""A set of integers from 1 on, kept as sorted half-open ranges: the published set, whose holes are the gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


class RangeSet:
    """Integers as ranges `[low, high)`; normally one. With many, what is asked for each batch does not look at all."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        self._size = 0
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

    @property
    def size(self) -> int:
        """Number of integers."""
        return self._size

    def add(self, low: int, high: int) -> None:
        """Add the integers from `low` to before `high`, joining ranges that touch. An empty range adds nothing."""
        if low >= high:
            return
        first = bisect_left(self._highs, low)
        last = bisect_right(self._lows, high)
        if first < last:
            low = min(low, self._lows[first])
            high = max(high, self._highs[last - 1])
        self._size += high - low
        for joined in range(first, last):
            self._size -= self._highs[joined] - self._lows[joined]
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def add_all(self, values: Iterable[int]) -> None:
        """Add single integers."""
        for value in values:
            if self._highs and self._highs[-1] == value:
                self._highs[-1] = value + 1  # the common case: the next integer
                self._size += 1
            else:
                self.add(value, value + 1)

    def add_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Add ranges that ascend: the last one first, since a hole that is closed moves all ranges behind it."""
        for low, high in reversed(ranges):
            self.add(low, high)

    def gap_count(self, start: int = 1) -> int:
        """Number of holes between `start` and `upper`."""
        return len(self._lows) - bisect_right(self._lows, start)

    def gaps(self, start: int = 1, most: int | None = None) -> list[tuple[int, int]]:
        """The holes between `start` and `upper`, lowest first; of more than `most`, the first ones."""
        first = bisect_right(self._lows, start)
        last = None if most is None else first + most
        if first:
            start = max(start, self._highs[first - 1])
        holes = []
        for low, high in zip(self._lows[first:last], self._highs[first:last], strict=True):
            holes.append((start, low))
            start = high
        return holes

    def fill(self, end: int) -> list[tuple[int, int]]:
        """Add all integers before `end`; returns the ranges that were missing, lowest first."""
        missing = []
        above = 1
        for low, high in self:
            if above >= end:
                break
            if above < low:
                missing.append((above, min(low, end)))
            above = high
        if above < end:
            missing.append((above, end))
        self.add(1, end)
        return missing

    def copy(self) -> RangeSet:
        """An independent copy."""
        twin = RangeSet()
        twin._lows, twin._highs, twin._size = self._lows.copy(), self._highs.copy(), self._size
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
