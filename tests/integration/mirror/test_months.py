"""Source and mirror keep activities by month or in one table, each as it likes."""

from __future__ import annotations

import psycopg
import pytest

from registry.database import months
from tests.support.mirror.mirrors import Mirror
from tests.support.schema.months import everything, fill
from tests.support.world import World

NOW = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'w', id, 'other', 'now' FROM worktrees"
)


@pytest.mark.parametrize("by_month", ["source", "mirror"])
async def test_a_mirror_is_its_source_whichever_of_both_is_by_month(
    source: World, mirror: Mirror, by_month: str
) -> None:
    fill(source.database, activities=200)
    url = {"source": source.database, "mirror": mirror.database}[by_month]
    with (
        psycopg.connect(source.database, autocommit=True) as there,
        psycopg.connect(mirror.database, autocommit=True) as here,
        psycopg.connect(url, autocommit=True) as moved,
    ):
        async with mirror.following():
            await mirror.assert_same(is_snapshot=True)
        months.move(moved, by_month=True)
        there.execute(NOW)
        async with mirror.following():
            await mirror.assert_same(is_snapshot=True)
        assert len(everything(here)) == 205

        there.execute("SELECT cleanup_old_activities(70)")  # no event tells of it
        there.execute(NOW)
        async with mirror.following():
            await mirror.caught_up()
        assert len(everything(here)) == 210
        months.move(moved, by_month=False)
        assert len(everything(here)) == 210
