"""The judge of the sustained rates: it tells what is lost, doubled and reordered, and when a delay grows."""

from __future__ import annotations

from benchmarks.capture.judge import Stored, judge
from benchmarks.capture.load import Written
from benchmarks.capture.probe import grows, is_steady

WRITTEN = Written("r1", {"r1c0x1": 1.0, "r1c0x2": 2.0, "r1c0x3": 3.0})

WRITTEN_AT_ONCE = Written("r1", {"r1c0x1": 3.0, "r1c0x2": 3.0, "r1c0x3": 3.0})


def stored(*rows: tuple[str, int], path: str = "/a", at: float = 3.5) -> list[Stored]:
    return [Stored(token, path, version, at) for token, version in rows]


def test_a_stream_with_each_row_once_and_in_order_has_no_fault() -> None:
    verdict = judge(WRITTEN, stored(("r1c0x1", 1), ("r1c0x2", 2), ("r1c0x3", 3)), 1)
    assert (verdict.written, verdict.lost, verdict.doubled, verdict.reordered) == (3, 0, 0, 0)
    assert verdict.milliseconds == [2500.0, 1500.0, 500.0]


def test_a_row_that_is_missing_is_lost() -> None:
    verdict = judge(WRITTEN, stored(("r1c0x1", 1), ("r1c0x3", 3)), 1)
    assert (verdict.lost, verdict.doubled, verdict.reordered) == (1, 0, 0)


def test_a_row_that_comes_again_is_doubled_and_not_reordered() -> None:
    verdict = judge(WRITTEN, stored(("r1c0x1", 1), ("r1c0x2", 2), ("r1c0x1", 1), ("r1c0x3", 3)), 1)
    assert (verdict.lost, verdict.doubled, verdict.reordered) == (0, 1, 0)


def test_an_earlier_version_behind_a_later_one_of_the_same_row_is_reordered() -> None:
    verdict = judge(WRITTEN, stored(("r1c0x1", 1), ("r1c0x3", 3), ("r1c0x2", 2)), 1)
    assert (verdict.lost, verdict.doubled, verdict.reordered) == (0, 0, 1)


def test_rows_have_no_order_between_them_and_other_runs_do_not_count() -> None:
    others = stored(("r1c0x2", 7), path="/b")
    verdict = judge(WRITTEN, [*others, *stored(("r0c0x9", 9), ("r1c0x1", 1), ("r1c0x3", 3))], 1)
    assert (verdict.lost, verdict.doubled, verdict.reordered) == (0, 0, 0)


def test_of_a_bulk_transaction_each_row_is_expected() -> None:
    written = Written("r1", {"r1c0x1": 1.0})
    verdict = judge(written, [*stored(("r1c0x1", 1), path="/a"), *stored(("r1c0x1", 1), path="/b")], 3)
    assert (verdict.written, verdict.lost, verdict.doubled) == (3, 1, 0)


def test_a_delay_that_rises_to_the_end_grows_and_one_that_varies_does_not() -> None:
    assert grows([float(value) for value in range(0, 900, 9)])
    assert not grows([5.0, 9.0] * 50)
    assert not grows([])


def test_a_run_that_loses_a_row_is_not_steady() -> None:
    whole = stored(("r1c0x1", 1), ("r1c0x2", 2), ("r1c0x3", 3), at=3.0)
    assert is_steady(WRITTEN_AT_ONCE, judge(WRITTEN_AT_ONCE, whole, 1))
    assert not is_steady(WRITTEN_AT_ONCE, judge(WRITTEN_AT_ONCE, whole[:2], 1))
