"""The published set against the plainest model there is: a Python set of integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from publisher.outbox.ranges import RangeSet, multirange

IDS = st.integers(1, 60)
RANGES = st.lists(st.tuples(IDS, IDS), max_size=12)


def build(ranges: list[tuple[int, int]]) -> tuple[RangeSet, set[int]]:
    return RangeSet(ranges), {value for low, high in ranges for value in range(low, high)}


@given(RANGES)
def test_holds_exactly_what_was_added_as_ranges_that_do_not_touch(ranges: list[tuple[int, int]]) -> None:
    found, model = build(ranges)
    assert {value for low, high in found for value in range(low, high)} == model
    assert all(left[1] < right[0] for left, right in zip(list(found), list(found)[1:], strict=False))
    assert all((value in found) == (value in model) for value in range(70))
    assert found.upper == (max(model) + 1 if model else 1)
    assert found.size == len(model)


@given(RANGES, st.lists(IDS))
def test_single_integers_join_the_ranges_they_touch(ranges: list[tuple[int, int]], values: list[int]) -> None:
    found, model = build(ranges)
    found.add_all(values)
    expected, _ = build([(value, value + 1) for value in sorted(model | set(values))])
    assert found == expected
    assert found.size == expected.size


@given(RANGES)
def test_gaps_are_the_integers_missing_below_the_upper_end(ranges: list[tuple[int, int]]) -> None:
    found, model = build(ranges)
    gaps = {value for low, high in found.gaps() for value in range(low, high)}
    assert gaps == set(range(1, found.upper)) - model


@given(RANGES, st.integers(1, 70), st.integers(0, 5))
def test_gaps_from_a_place_on_are_the_first_ones_there(ranges: list[tuple[int, int]], start: int, most: int) -> None:
    found, model = build(ranges)
    gaps = found.gaps(start)
    assert {value for low, high in gaps for value in range(low, high)} == set(range(start, found.upper)) - model
    assert found.gap_count(start) == len(gaps)
    assert found.gaps(start, most) == gaps[:most]


@given(RANGES, RANGES)
def test_ranges_that_ascend_are_added_as_one_by_one(
    ranges: list[tuple[int, int]], added: list[tuple[int, int]]
) -> None:
    found, model = build(ranges)
    more, more_model = build(added)
    found.add_ranges(list(more))
    assert {value for low, high in found for value in range(low, high)} == model | more_model
    assert found.size == len(model | more_model)


@given(RANGES, st.integers(0, 70))
def test_filling_adds_and_returns_exactly_what_was_missing(ranges: list[tuple[int, int]], end: int) -> None:
    found, model = build(ranges)
    missing = found.fill(end)
    assert {value for low, high in missing for value in range(low, high)} == set(range(1, end)) - model
    assert {value for low, high in found for value in range(low, high)} == model | set(range(1, end))
    assert found.size == len(model | set(range(1, end)))


def test_a_copy_is_independent() -> None:
    original = RangeSet([(1, 5)])
    twin = original.copy()
    twin.add(5, 9)
    assert list(original) == [(1, 5)]


def test_text_form_is_that_of_a_multirange() -> None:
    assert multirange([(1, 5), (7, 8)]) == "{[1,5),[7,8)}"
    assert RangeSet().as_multirange() == "{}"
