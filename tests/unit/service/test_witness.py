"""The judge of the witnesses finds each kind of wrong."""

from __future__ import annotations

from tests.support.witness import Entry, Verdict, Written, judge


def test_what_is_lost_phantom_doubled_or_out_of_order_is_found() -> None:
    a1, a2, a3, b1, b2 = Entry("a", 1), Entry("a", 2), Entry("a", 3), Entry("b", 1), Entry("b", 2)
    written = Written(confirmed={a1, a2, b1}, unknown={b2})

    assert judge(written, [b1, a1, b2, a2]) == Verdict([], [], [], [])
    assert judge(written, [a1, b1]).lost == [a2]
    assert judge(written, [a1, a2, b1, a3]).phantom == [a3]
    assert judge(written, [a1, a2, a1, b1]).doubled == [a1]
    assert judge(written, [a2, b1, a1]).reordered == [(a2, a1)]
