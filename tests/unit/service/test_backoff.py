"""How long is waited between tries."""

from __future__ import annotations

import pytest

from registry.concurrency.backoff import doubled


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.1), (1, 0.2), (2, 0.4), (8, 25.6), (9, 30.0), (63, 30.0), (100_000, 30.0)]
)
def test_waits_double_up_to_the_longest_however_often_a_try_fails(failures: int, seconds: float) -> None:
    assert doubled(failures, (0.1, 30.0)) == pytest.approx(seconds)
