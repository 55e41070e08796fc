"""Whatever becomes of the leader, publisher or applier, the other one goes on, and nothing is published by both."""

from __future__ import annotations

from pathlib import Path

from tests.faults.suite import results
from tests.faults.suite.takeover import WAYS, late, measure


async def test_a_leader_that_is_lost_in_any_way_is_followed_by_the_other_one(state_dir: Path, tmp_path: Path) -> None:
    measured = await measure(WAYS, 1, state_dir, tmp_path)  # judged there; how long it took is docs/reliability.md's

    assert {name: len(seconds) for name, seconds in measured.items()} == {way.name: 1 for way in WAYS}


def test_the_recorded_takeovers_are_within_their_limits_and_one_that_is_not_is_named() -> None:
    recorded = {one.name: one.seconds for one in results.read().takeovers}
    assert {name: len(seconds) for name, seconds in recorded.items()} == {way.name: 50 for way in WAYS}
    assert late(WAYS, recorded) == []
    first = WAYS[0]
    assert late(WAYS, recorded | {first.name: [*recorded[first.name], first.limit_seconds + 0.1]}) == [first.name]
