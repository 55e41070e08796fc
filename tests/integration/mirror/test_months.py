"""Source and mirror keep activities by month or in one table, each as it likes."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from registry.database import months
from tests.support.mirror.mirrors import PATIENCE_SECONDS, Mirror
from tests.support.schema.months import DROP, LAST, everything, fill
from tests.support.world import World

NOW = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
    " SELECT 'w', id, 'other', 'now' FROM worktrees"
)

LONG = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata, created_at)"
    " SELECT 'w', id, 'other', 'long', jsonb_build_object('log', repeat('words ', 50000)),"
    " now() - row_number() OVER () * interval '31 days' FROM worktrees"
)
"""One of more than 64 KiB in each of five months."""


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


async def test_a_snapshot_has_each_long_activity_once_where_every_month_has_one_at_the_same_place(
    source: World, mirror: Mirror
) -> None:
    fill(source.database, activities=0)
    with psycopg.connect(source.database, autocommit=True) as there:
        there.execute(LONG)
        months.move(there, by_month=True)
    await source.drained()  # before the snapshot, whose sequence is waited for
    async with mirror.following():
        await mirror.assert_same(is_snapshot=True)


async def test_who_follows_makes_the_months_ahead_of_a_mirror_by_month(source: World, mirror: Mirror) -> None:
    with psycopg.connect(mirror.database, autocommit=True) as here:
        months.move(here, by_month=True)
        last = here.execute(LAST).fetchone()
        here.execute(DROP)
        assert here.execute(LAST).fetchone() != last
        with mirror.process() as process:
            await process.ready()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while here.execute(LAST).fetchone() != last:
                    await asyncio.sleep(0.05)
        health = "SELECT state FROM registry_health() WHERE name = 'triggers'"
        assert here.execute(health).fetchone() == ("ok",)
