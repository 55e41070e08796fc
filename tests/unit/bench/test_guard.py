"""The guard fails for a figure that is too low each time, or that nobody kept, and for nothing else."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.guard import ATTEMPTS, KEPT, judge
from benchmarks.harness.quiet import LOOKS, until_quiet


@pytest.mark.parametrize(
    ("measured", "attempts", "code"),
    [
        ([0.5], 1, 0),
        ([0.43], 1, 0),
        ([0.42, 0.42, 0.5], 3, 0),
        ([0.42, 0.42, 0.42], ATTEMPTS, 1),
        ([9.0], 1, 0),
    ],
    ids=["as kept", "within the tolerance", "once of three times", "never", "faster"],
)
def test_a_figure_fails_that_is_too_low_each_time(
    capsys: pytest.CaptureFixture[str], measured: list[float], attempts: int, code: int
) -> None:
    values = iter(measured)
    assert judge({"an event": 0.5}, lambda: {"an event": next(values)}) == code
    assert list(values) == [], f"not {attempts} attempts"
    assert ("TOO SLOW" in capsys.readouterr().out) == (code == 1)


def test_a_figure_that_nobody_kept_fails() -> None:
    assert judge({}, lambda: {"an event": 1.0}) == 1


def test_a_busy_machine_is_waited_for() -> None:
    looks = iter([90.0, 60.0, 25.0, 80.0])
    assert until_quiet(25.0, lambda: next(looks)) == 25.0
    assert list(looks) == [80.0]


def test_a_machine_that_stays_busy_is_not_waited_for_for_ever() -> None:
    looks = [100.0] * (LOOKS - 1) + [70.0, 0.0]
    assert until_quiet(25.0, lambda: looks.pop(0)) == 70.0
    assert looks == [0.0]


def test_each_figure_that_is_kept_is_a_share_of_its_baseline() -> None:
    kept = orjson.loads(KEPT.read_bytes())
    assert len(kept) >= 6
    assert all(0 < value < 10 for value in kept.values())
