"""The gaps of the outbox: ids that were handed out and not seen, and when they are dead.

An id belongs to a transaction that is older than the first one to begin after the id was handed out. When every such
transaction has ended, and a page of the same snapshot shows no row, none will ever appear. The argument:
docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from publisher.outbox.page import Page
from publisher.outbox.ranges import RangeSet


class Mark(NamedTuple):
    """Every outbox id below `end` was handed out before the transaction `transaction_id` began."""

    end: int
    transaction_id: int


class Gaps:
    """Which ids were seen, in a page or as dead, and the marks that tell when the others are dead."""

    def __init__(self, published: RangeSet, transaction_id: int) -> None:
        """Begin with what is published; `transaction_id` stored it, and began after those ids were handed out."""
        self.seen = published.copy()
        self._marks = deque([Mark(self.seen.upper, transaction_id)])

    def see(self, ids: Iterable[int]) -> None:
        """Note the rows of a page."""
        self.seen.add_all(ids)

    def close(self, page: Page) -> list[tuple[int, int]]:
        """The ranges of ids that `page`, whose rows were seen, proves dead; they are seen from now on."""
        end = 0
        while self._marks and self._marks[0].transaction_id <= page.oldest_running:
            end = self._marks.popleft().end
        if page.is_full:
            end = min(end, page.rows[-1].id + 1)  # the page did not look further
        return self.seen.fill(end)

    def mark(self, allocated: int, transaction_id: int) -> None:
        """Note a transaction that began after the ids up to `allocated` were handed out."""
        if not self.is_marked(allocated):
            self._marks.append(Mark(self._end(allocated), transaction_id))
        if not self.has_missing(allocated):
            self._marks.clear()

    def is_marked(self, allocated: int) -> bool:
        """Whether a mark stands behind all ids up to `allocated`."""
        return bool(self._marks) and self._marks[-1].end >= self._end(allocated)

    def has_missing(self, allocated: int) -> bool:
        """Whether any id up to `allocated` was neither seen nor found dead."""
        return bool(self.seen.gaps()) or self.seen.upper <= allocated

    def missing(self, allocated: int) -> int:
        """How many ids up to `allocated` were neither seen nor found dead."""
        above = self._end(allocated) - self.seen.upper
        return above + sum(high - low for low, high in self.seen.gaps())

    def _end(self, allocated: int) -> int:
        return max(self.seen.upper, allocated + 1)
