"""The gaps of the outbox: ids that were handed out and not seen, where to look for them, and when they are dead.

An id belongs to a transaction that is older than the first one to begin after the id was handed out. When every such
transaction has ended, and a page of the same snapshot shows no row, none will ever appear. While all of them are
running that were when the gap was read last, no row can have appeared either. The argument:
docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from publisher.outbox.page import Page, Unseen
from publisher.outbox.ranges import RangeSet

FEW = 64
"""So many gaps are read with each page; of more, those are settled that can be."""
MOST_AT_ONCE = 2000
"""Gaps read in one page at most, each by a probe of the index; the next page goes on behind them."""
NOTHING_ABOVE = 2**63 - 1


class Mark(NamedTuple):
    """Every outbox id below `end` was handed out before the transaction `transaction_id` began."""

    end: int
    transaction_id: int


class Gaps:
    """Which ids were seen, in a page or as dead, and the marks that tell when the others are dead.

    The gaps below the first marks are settled: they were read by a page in whose snapshot no transaction that may own
    their ids was running, but some of those watched since. They need not be read again until one of these has ended.
    """

    def __init__(self, published: RangeSet, transaction_id: int) -> None:
        """Begin with what is published; `transaction_id` stored it, and began after those ids were handed out."""
        self.seen = published.copy()
        self._marks = [Mark(self.seen.upper, transaction_id)]
        self._settled = 0
        """So many marks are."""
        self._watched: tuple[int, ...] = ()
        """Ids of transactions below the last settled mark, ascending."""

    def unseen(self) -> Unseen:
        """What the next page must look for."""
        gaps = self.seen.gaps(self._settled_end, MOST_AT_ONCE + 1)
        is_survey = len(gaps) > FEW or len(self._marks) - self._settled > FEW
        if len(gaps) <= MOST_AT_ONCE:
            return Unseen(gaps, self.seen.upper, None, self._watched, is_survey)
        end, _ = gaps.pop()
        return Unseen(gaps, NOTHING_ABOVE, end, self._watched, is_survey)

    def reopen(self, ended: Sequence[int]) -> None:
        """Let those gaps be read again whose ids may belong to one of the transactions that have `ended`."""
        first = min(ended)
        while self._settled and self._marks[self._settled - 1].transaction_id > first:
            self._settled -= 1
        self._watch(self._watched)

    def see(self, ids: Iterable[int]) -> None:
        """Note the rows of a page."""
        self.seen.add_all(ids)

    def close(self, page: Page) -> list[tuple[int, int]]:
        """The ranges of ids that `page`, whose rows were seen, proves dead; they are seen from now on.

        What else it tells is noted, too. A page with `ended` transactions tells nothing.
        """
        end = 0
        for mark in self._marks:
            if mark.transaction_id > page.oldest_running:
                break
            end = mark.end
        if page.end is not None:
            end = min(end, page.end)  # the page did not look further
        closed = sum(mark.end <= end for mark in self._marks)
        del self._marks[:closed]
        self._settled = max(self._settled - closed, 0)
        dead = self.seen.fill(end)
        self._settle(page)
        return dead

    def mark(self, allocated: int, transaction_id: int) -> None:
        """Note a transaction that began after the ids up to `allocated` were handed out."""
        if not self.is_marked(allocated):
            self._marks.append(Mark(self._end(allocated), transaction_id))
        if not self.has_missing(allocated):
            self._marks.clear()
            self._settled, self._watched = 0, ()

    def is_marked(self, allocated: int) -> bool:
        """Whether a mark stands behind all ids up to `allocated`."""
        return bool(self._marks) and self._marks[-1].end >= self._end(allocated)

    def needs_mark(self, page: Page) -> bool:
        """Whether the next page could not go on behind the gaps of this one, since no mark lets them settle."""
        return page.asked_end is not None and not self.is_marked(page.allocated)

    def has_missing(self, allocated: int) -> bool:
        """Whether any id up to `allocated` was neither seen nor found dead."""
        return self.missing(allocated) > 0

    def missing(self, allocated: int) -> int:
        """How many ids up to `allocated` were neither seen nor found dead."""
        return self._end(allocated) - 1 - self.seen.size

    def _end(self, allocated: int) -> int:
        return max(self.seen.upper, allocated + 1)

    @property
    def _settled_end(self) -> int:
        return self._marks[self._settled - 1].end if self._settled else 1

    def _settle(self, page: Page) -> None:
        """Settle the gaps that `page`, a survey, looked at, and join the marks that tell the same from now on."""
        if page.snapshot is None:
            return
        # Marks that were made since, as while a page that was asked for ahead was on its way, are left for the next.
        known = bisect_right(self._marks, page.snapshot.end, key=lambda mark: mark.transaction_id)
        if not known:
            return
        since, marks = self._marks[known:], self._marks[:known]
        running, end = page.snapshot.running, page.end
        at = known
        if end is not None:
            at = bisect_right(marks, end, key=lambda mark: mark.end)
            if at < known:  # that mark holds for the part of its ids that the page looked at, too
                marks.insert(at, Mark(end, marks[at].transaction_id))
                at += 1
        settled = _joined(marks[:at], running)
        self._marks = settled + _joined(marks[at:], running) + since
        self._settled = len(settled)
        self._watch(running)

    def _watch(self, running: tuple[int, ...]) -> None:
        """Watch those of the `running` transactions that may own an id below the last settled mark."""
        below = self._marks[self._settled - 1].transaction_id if self._settled else 0
        self._watched = running[: bisect_left(running, below)]


def _joined(marks: Iterable[Mark], running: Sequence[int]) -> list[Mark]:
    """`marks` without those between which and the next one no transaction is running."""
    kept: list[Mark] = []
    older = -1
    for mark in marks:
        before, older = older, bisect_left(running, mark.transaction_id)
        if older == before:
            kept[-1] = mark
        else:
            kept.append(mark)
    return kept
