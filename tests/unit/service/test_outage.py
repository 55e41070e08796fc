"""What is logged of an outage, however long it is: what it is, seldom that it lasts, and that it is over."""

from __future__ import annotations

from itertools import pairwise

import pytest
import structlog

from registry.concurrency.outage import MOST_REASONS, QUIET_SECONDS, SAID_SECONDS, Outage

Lines = list[dict[str, object]]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock) -> Outage:
    return Outage("relay", now=clock, stream="IMI")


def loud(logged: Lines) -> Lines:
    """Without what is for level debug."""
    return [line for line in logged if line["log_level"] != "debug"]


def test_an_hour_makes_few_lines_and_its_end_is_told_with_how_long_it_was(outage: Outage, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(1800):
            outage.failed(ConnectionError("refused"))
            clock.now += 2
        outage.over()
        outage.over()
    first, *later, last = loud(logged)
    assert first == {"event": "relay interrupted", "log_level": "warning", "reason": "refused", "stream": "IMI"}
    assert len(later) <= 16
    assert {line["event"] for line in later} == {"relay interrupted"}
    seconds = [line["outage_seconds"] for line in later]
    pauses = [after - before for before, after in pairwise(seconds)]  # type: ignore[operator]
    assert pauses == sorted(pauses)
    assert max(pauses) <= SAID_SECONDS[1] + 2
    assert last == {"event": "relay goes on", "log_level": "info", "outage_seconds": 3600.0, "stream": "IMI"}
    assert len(logged) == 1801  # the rest is there for who looks


def test_what_comes_back_for_a_moment_again_and_again_makes_few_lines_too(outage: Outage, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(1800):
            outage.failed(ConnectionError("refused"))
            clock.now += 1
            outage.over()
            outage.note("leading", epoch=clock.now)
            clock.now += 1
    assert len(loud(logged)) <= 2 * 17 + 1


def test_reasons_that_are_new_are_told_at_once_but_not_endlessly(outage: Outage, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        for number in range(1000):
            outage.failed(ConnectionError(f"pid {number}"))
            clock.now += 0.001
    assert [line["reason"] for line in loud(logged)] == [f"pid {number}" for number in range(MOST_REASONS)]


def test_after_a_quiet_time_it_is_another_outage(outage: Outage, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            outage.failed(ConnectionError("refused"))
            outage.over()
            clock.now += QUIET_SECONDS + 1
            outage.note("leading")
    assert [line["event"] for line in logged] == ["relay interrupted", "relay goes on", "leading"] * 3


def test_what_never_failed_says_nothing(outage: Outage) -> None:
    with structlog.testing.capture_logs() as logged:
        outage.over()
    assert logged == []


def test_a_bug_is_told_with_its_traceback_once(outage: Outage, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logged:
        for _ in range(900):
            outage.failed(KeyError("x"), is_bug=True)
            clock.now += 2
    traces = [line for line in loud(logged) if "exc_info" in line]
    assert [line["event"] for line in traces[:1]] == ["relay failed"]
    assert len(traces) <= 14
