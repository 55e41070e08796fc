"""The rule of the gaps against a model of PostgreSQL: transactions that take ids, end in any order, and are read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from publisher.outbox.page import Page
from publisher.outbox.ranges import RangeSet
from publisher.relay.gaps import Gaps
from registry.events.message import OutboxRow

BEGIN, TAKE, COMMIT, ROLL_BACK, READ, MARK = range(6)
STEPS = st.lists(st.tuples(st.integers(BEGIN, MARK), st.integers(0, 7)), min_size=20, max_size=80)


class Model:
    """Transaction ids and outbox ids as PostgreSQL hands them out, and one relay that reads."""

    def __init__(self) -> None:
        self.next_transaction = 100
        self.allocated = 0
        self.running: dict[int, list[int]] = {}
        self.visible: set[int] = set()
        self.read_ids: list[int] = []
        self.dead: set[int] = set()
        self.gaps = Gaps(RangeSet(), self._new_transaction())
        self.last_allocated = 0

    def step(self, kind: int, number: int) -> None:
        """One thing that happens; `number` chooses the transaction, or the limit of a page."""
        if kind == BEGIN:
            self.running[self._new_transaction()] = []
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
        if commits:
            self.visible.update(ids)

    def read(self, limit: int) -> Page:
        found = sorted(id_ for id_ in self.visible if id_ not in self.gaps.seen)[:limit]
        page = Page([row(id_) for id_ in found], len(found) == limit, self.oldest_running, self.allocated)
        self.gaps.see(found)
        self.read_ids += found
        for low, high in self.gaps.close(page):
            self.dead.update(range(low, high))
        self.last_allocated = page.allocated
        return page

    def mark(self) -> None:
        """The relay's own transaction, which begins and ends behind its last page."""
        self.gaps.mark(self.last_allocated, self._new_transaction())

    @property
    def oldest_running(self) -> int:
        return min(self.running, default=self.next_transaction)

    def _new_transaction(self) -> int:
        self.next_transaction += 1
        return self.next_transaction - 1


def row(id_: int) -> OutboxRow:
    rest: list[Any] = [None] * (len(OutboxRow._fields) - 1)
    return OutboxRow(id_, *rest)


@given(STEPS)
def test_every_committed_row_is_read_once_and_no_other_id_stays_open(steps: list[tuple[int, int]]) -> None:
    model = Model()
    for kind, number in steps:
        model.step(kind, number)
        still_possible = {id_ for ids in model.running.values() for id_ in ids}
        assert not model.dead & (model.visible | still_possible), "dead, and yet it can appear"

    for transaction_id in sorted(model.running):
        model.end(transaction_id, commits=True)
    while model.read(limit=3).rows:
        pass
    model.mark()
    model.read(limit=3)

    assert sorted(model.read_ids) == sorted(model.visible)
    assert model.dead == set(range(1, model.allocated + 1)) - model.visible
    assert not model.gaps.has_missing(model.allocated)
    assert model.gaps.missing(model.allocated) == 0


@given(STEPS)
def test_what_is_missing_is_what_was_handed_out_and_neither_read_nor_dead(steps: list[tuple[int, int]]) -> None:
    model = Model()
    for kind, number in steps:
        model.step(kind, number)

        missing = set(range(1, model.allocated + 1)) - set(model.read_ids) - model.dead

        assert model.gaps.missing(model.allocated) == len(missing)
        assert model.gaps.has_missing(model.allocated) == bool(missing)
