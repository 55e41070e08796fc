"""Ticks: each once, never later than asked for, and the same for all who wait for them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.concurrency import ticks

NOW = st.floats(min_value=0, max_value=1e7)
PERIODS = st.sampled_from([0.05, 0.5, 1.0, 2.0, 5.0, 15.0, 3600.0])


def until_tick(now: float, seconds: float) -> float:
    """As an event loop whose clock shows `now` has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: SimpleNamespace(time=lambda: now))
        return ticks.until_tick(seconds)


@given(NOW, PERIODS)
def test_a_tick_is_ahead_and_no_further_than_its_period(now: float, seconds: float) -> None:
    assert ticks.EARLY_SECONDS < until_tick(now, seconds) <= seconds + ticks.EARLY_SECONDS


@given(NOW, PERIODS, st.sampled_from([0.0, 0.0005, 0.001, 0.002]))
def test_who_was_woken_a_little_too_early_waits_for_the_tick_behind(now: float, seconds: float, early: float) -> None:
    at = now + until_tick(now, seconds)
    assert until_tick(at - early, seconds) == pytest.approx(seconds + early, abs=1e-6)


@given(NOW, st.sampled_from([1, 2, 4, 10, 30]))
def test_who_waits_for_longer_wakes_with_one_who_waits_for_less(now: float, times: int) -> None:
    at = now + until_tick(now, 0.5 * times)
    before = until_tick(at - 0.25, 0.5)
    assert before == pytest.approx(0.25, abs=1e-6)
