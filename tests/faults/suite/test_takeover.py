"""Whatever becomes of the leading publisher, the other one goes on, and nothing is published by both."""

from __future__ import annotations

from pathlib import Path

from tests.faults.suite.takeover import WAYS, measure


async def test_a_leader_that_is_lost_in_any_way_is_followed_by_the_other_publisher(
    state_dir: Path, tmp_path: Path
) -> None:
    measured = await measure(WAYS, 1, state_dir, tmp_path)  # judged there; how long it took is docs/reliability.md's

    assert {name: len(seconds) for name, seconds in measured.items()} == {way.name: 1 for way in WAYS}
