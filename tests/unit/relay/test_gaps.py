"""The rule of the gaps against a model of PostgreSQL: transactions that take ids, end in any order, and are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.outbox.page import Page, Snapshot, Unseen
from publisher.outbox.ranges import RangeSet
from publisher.relay import gaps
from publisher.relay.gaps import Gaps
from registry.events.message import OutboxRow

BEGIN, TAKE, COMMIT, ROLL_BACK, ASK, READ, MARK = range(7)
# Weighted so that transactions live long and gaps are many: of lists in which all steps were as likely, one in a
# hundred told a relay that watched nobody.
KINDS = [BEGIN] * 2 + [TAKE] * 4 + [COMMIT, ROLL_BACK, ASK] + [READ] * 3 + [MARK] * 2
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 7)), min_size=20, max_size=150)


@pytest.fixture(params=[(64, 2000), (0, 2), (0, 1), (2, 3)], ids=["as it is", "2 at once", "1 at once", "2 unsettled"])
def limits(request: pytest.FixtureRequest) -> Iterator[None]:
    """The limits of the gaps, so low that a few gaps are many."""
    few, most = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaps, "FEW", few)
        patch.setattr(gaps, "MOST_AT_ONCE", most)
        yield


class Model:
    """Transaction ids and outbox ids as PostgreSQL hands them out, and one relay that reads."""

    def __init__(self) -> None:
        self.next_transaction = 100
        self.last_ended = 99
        self.allocated = 0
        self.running: dict[int, list[int]] = {}
        self.visible: set[int] = set()
        self.read_ids: list[int] = []
        self.dead: set[int] = set()
        self.gaps = Gaps(RangeSet(), self._relays_own())
        self.last_allocated = 0
        self.asked: Page | None = None
        """By its snapshot it is of now; it is used later, when a mark may have been made since."""
        self.visible_then: set[int] = set()

    def step(self, kind: int, number: int) -> None:
        """One thing that happens; `number` chooses the transaction, or the limit of a page."""
        if kind == BEGIN:
            self.running[self._new_transaction()] = []
        elif kind == ASK:
            self.ask(limit=number + 1)
        elif kind == READ:
            self.read(limit=number + 1)
        elif kind == MARK:
            self.mark()
        elif self.running:
            chosen = sorted(self.running)[number % len(self.running)]
            if kind == TAKE:
                self.allocated += 1
                self.running[chosen].append(self.allocated)
            else:
                self.end(chosen, commits=kind == COMMIT)

    def end(self, transaction_id: int, *, commits: bool) -> None:
        ids = self.running.pop(transaction_id)
        self.last_ended = max(self.last_ended, transaction_id)
        if commits:
            self.visible.update(ids)

    def ask(self, limit: int) -> Page:
        self.asked, self.visible_then = self._page(self.gaps.unseen(), limit), self.visible.copy()
        return self.asked

    def read(self, limit: int) -> Page:
        page = self.asked or self.ask(limit)
        while page.ended:
            self.gaps.reopen(page.ended)
            page = self.ask(limit)
        self.asked = None
        ids = [row.id for row in page.rows]
        left_out = {
            id_ for id_ in self.visible_then if id_ not in self.gaps.seen and (page.end is None or id_ < page.end)
        }
        assert left_out == set(ids), "a row behind those of the page would be read before them"
        self.gaps.see(ids)
        self.read_ids += ids
        for low, high in self.gaps.close(page):
            self.dead.update(range(low, high))
        self.last_allocated = page.allocated
        return page

    def read_all(self) -> None:
        """Read until a page of now shows that there is nothing more."""
        if self.asked is not None:
            self.read(limit=3)
        page = self.read(limit=3)
        while page.rows or page.end is not None:
            if self.gaps.needs_mark(page):
                self.mark()
            page = self.read(limit=3)

    def mark(self) -> None:
        """The relay's own transaction, which begins and ends behind its last page."""
        self.gaps.mark(self.last_allocated, self._relays_own())

    def _page(self, unseen: Unseen, limit: int) -> Page:
        """What the statement of `publisher/outbox/page.py` finds."""
        snapshot = self.snapshot
        ended = tuple(id_ for id_ in unseen.watched if id_ < snapshot.end and id_ not in snapshot.running)
        places = [*unseen.gaps, (unseen.above, self.allocated + 1)]
        found = sorted(id_ for id_ in self.visible for low, high in places if low <= id_ < high)[:limit]
        rows = [] if ended else [row(id_) for id_ in found]
        return Page(
            rows,
            len(rows) == limit,
            self.oldest_running,
            self.allocated,
            snapshot=snapshot if unseen.is_survey else None,
            ended=ended,
            asked_end=unseen.end,
        )

    @property
    def snapshot(self) -> Snapshot:
        """As PostgreSQL takes it: it ends behind the last transaction that has ended, whatever was begun since."""
        end = self.last_ended + 1
        return Snapshot(tuple(sorted(id_ for id_ in self.running if id_ < end)), end)

    @property
    def oldest_running(self) -> int:
        return min(*self.running, self.last_ended + 1, self.last_ended + 1)

    def _relays_own(self) -> int:
        self.last_ended = self._new_transaction()
        return self.last_ended

    def _new_transaction(self) -> int:
        self.next_transaction += 1
        return self.next_transaction - 1


def row(id_: int) -> OutboxRow:
    rest: list[Any] = [None] * (len(OutboxRow._fields) - 1)
    return OutboxRow(id_, *rest)


@pytest.mark.usefixtures("limits")
@given(STEPS)
def test_every_committed_row_is_read_once_and_no_other_id_stays_open(steps: list[tuple[int, int]]) -> None:
    model = Model()
    for kind, number in steps:
        model.step(kind, number)
        still_possible = {id_ for ids in model.running.values() for id_ in ids}
        assert not model.dead & (model.visible | still_possible), "dead, and yet it can appear"

    for transaction_id in sorted(model.running):
        model.end(transaction_id, commits=True)
    model.read_all()
    model.mark()
    model.read_all()

    assert sorted(model.read_ids) == sorted(model.visible)
    assert model.dead == set(range(1, model.allocated + 1)) - model.visible
    assert not model.gaps.has_missing(model.allocated)
    assert model.gaps.missing(model.allocated) == 0


@pytest.mark.usefixtures("limits")
@given(STEPS)
def test_what_is_missing_is_what_was_handed_out_and_neither_read_nor_dead(steps: list[tuple[int, int]]) -> None:
    model = Model()
    for kind, number in steps:
        model.step(kind, number)

        missing = set(range(1, model.allocated + 1)) - set(model.read_ids) - model.dead

        assert model.gaps.missing(model.allocated) == len(missing)
        assert model.gaps.has_missing(model.allocated) == bool(missing)


def test_what_a_page_is_asked_for_does_not_grow_with_the_gaps() -> None:
    """100,000 of them, behind one transaction that idles: read once, a few at a time, then left out."""
    gap_count = 100_000
    model = Gaps(RangeSet((2 * number + 1, 2 * number + 2) for number in range(gap_count)), 500)
    allocated, pages = 2 * gap_count, 0
    unseen = model.unseen()
    while pages == 0 or unseen.end is not None:
        unseen, pages = model.unseen(), pages + 1
        assert len(str(unseen.values(1000))) < 50_000
        snapshot = Snapshot((100, 501), 502) if unseen.is_survey else None
        assert not model.close(Page([], False, 100, allocated, snapshot=snapshot, asked_end=unseen.end))
    assert pages == gap_count / gaps.MOST_AT_ONCE
    for number in range(1000):
        id_ = 2 * gap_count + 2 * number + 2
        unseen = model.unseen()
        assert len(str(unseen.values(1000))) < 3000
        assert unseen.watched == (100,)
        model.see([id_])
        snapshot = Snapshot((100,), 602 + number) if unseen.is_survey else None
        model.close(Page([row(id_)], False, 100, id_, snapshot=snapshot))
        model.mark(id_, 602 + number)

    model.reopen([100])

    assert len(model.unseen().gaps) == gaps.MOST_AT_ONCE


def test_gaps_settle_also_where_each_page_is_older_than_the_last_mark() -> None:
    """As behind a backlog, where each is asked for before the cursor is stored; one transaction runs all the time."""
    oldest, transaction_id, id_ = 99, 100, 0
    model = Gaps(RangeSet(), 98)
    for _ in range(1_000):
        unseen = model.unseen()
        snapshot = Snapshot((oldest,), transaction_id) if unseen.is_survey else None
        page = Page([row(id_ + 2), row(id_ + 3)], True, oldest, id_ + 3, snapshot=snapshot, asked_end=unseen.end)
        transaction_id += 1
        model.mark(id_, transaction_id)
        model.see([id_ + 2, id_ + 3])
        model.close(page)
        id_ += 3
    assert len(model.unseen().gaps) <= 2 * gaps.FEW


def test_a_younger_transaction_that_ends_opens_no_gap_that_is_older_than_it() -> None:
    model = Gaps(RangeSet((2 * number + 1, 2 * number + 2) for number in range(100)), 200)
    model.close(Page([], False, 100, 199, snapshot=Snapshot((100,), 201)))
    for id_ in range(202, 402, 2):  # beside 300, which has begun
        model.see([id_])
    model.mark(401, 310)
    model.close(Page([], False, 100, 401, snapshot=Snapshot((100, 300), 311)))
    assert (model.unseen().gaps, model.unseen().watched) == ([], (100, 300))

    model.reopen([300])

    assert model.unseen().watched == (100,)
    assert [low for low, _ in model.unseen().gaps] == [200 if id_ == 202 else id_ - 1 for id_ in range(202, 402, 2)]
