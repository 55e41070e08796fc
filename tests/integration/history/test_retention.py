"""Retention of the outbox: old events go, in small steps; what is not published, or not old, stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection

from publisher.history.verification import verify
from publisher.outbox.connection import connect
from publisher.outbox.retention import remove_old
from tests.support.histories import export, import_, row
from tests.support.workload import writing
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("profile")


async def remove(database: str, keep: timedelta = timedelta(0)) -> int:
    async with connect(database, "test") as conn:
        return (await remove_old(conn, keep)).events


def count(database: str, table: str = "outbox") -> int:
    query = {"outbox": "SELECT count(*) FROM outbox", "batches": "SELECT count(*) FROM published_batch"}[table]
    with psycopg.connect(database) as conn:
        return (conn.execute(query).fetchone() or (0,))[0]


async def test_what_is_not_published_stays_however_old_it_is(world: World) -> None:
    world.write()
    assert await remove(world.database) == 0

    async with world.relay():
        await world.drained()
    published = count(world.database)
    world.write(1)
    waiting = count(world.database) - published
    assert await remove(world.database) == published
    assert (count(world.database), count(world.database, "batches")) == (waiting, 0)
    async with world.relay():
        await world.drained()

    assert len(await world.replayed()) == published + waiting


async def test_what_another_stream_has_not_got_yet_stays(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        conn.execute("INSERT INTO publisher_cursor (stream, published) VALUES ('OTHER', '{[1,4)}')")
    async with world.relay(batch_size=1):
        world.write()
        await world.drained()

    assert await remove(world.database) == 3


async def test_what_is_young_stays_and_the_history_begins_with_it(world: World) -> None:
    async with world.relay(batch_size=2):
        world.write()
        await world.drained()
        everything = await world.replayed()

        with psycopg.connect(world.database) as conn:
            query = "UPDATE published_batch SET published_at = now() - interval '91 days' WHERE last_sequence <= 8"
            old = conn.execute(query).rowcount
        assert await remove(world.database, timedelta(days=90)) == 8
        assert old > 1
        assert count(world.database) == len(everything) - 8
        await world.trim(len(everything))

        async with world.history():
            assert row(await world.replayed()) == row(everything)[8:]


async def test_the_relay_goes_on_over_removed_ids(world: World) -> None:
    async with world.relay() as metrics:
        world.write()
        await world.drained()
        await remove(world.database)
        world.write()
        await world.drained()
        told = await world.replayed()
    async with world.relay():  # recovers
        world.write(0, 0, 1)
        await world.drained()
        assert len(await world.replayed()) == len(told) + 4

    assert metrics.problems() == []


async def test_no_writer_ever_waits_for_retention(world: World) -> None:
    """A writer gives up as soon as it waits for a lock at all: none does, and removal runs the whole time."""
    with psycopg.connect(world.database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:a/b.git')")
        conn.execute(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix)"
            " SELECT 't' || n, 't/', 't-' FROM generate_series(1, 8000) AS n"
        )

    async with world.relay(batch_size=100):
        await world.drained()
        async with asyncio.TaskGroup() as tasks:
            removing = tasks.create_task(remove(world.database))
            writes = 0
            async with await AsyncConnection.connect(world.database, autocommit=True) as conn:
                await conn.execute("SET lock_timeout = '1ms'")
                while not removing.done():
                    await conn.execute("UPDATE projects SET description = %s", [str(writes)])
                    writes += 1
        assert removing.result() >= 8000
        assert writes > 1


@pytest.mark.parametrize("seed", [4])
async def test_retention_under_load_takes_nothing_from_the_stream(world: World, seed: int) -> None:
    async with world.relay(), writing(world.database, writers=4, seed=seed) as load:
        for _ in range(10):
            await load.reach(commits=10)
            await remove(world.database)
    async with world.relay():
        await world.drained()
    told = await world.replayed()
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))

    with psycopg.connect(world.database) as conn:
        (ids,) = conn.execute("SELECT last_value FROM outbox_id_seq").fetchone() or (0,)
        kept = {id_ for (id_,) in conn.execute("SELECT id FROM outbox").fetchall()}

    told_ids = {event.position.outbox_id for event in told}
    assert kept <= told_ids
    assert len(told_ids) == len(told) > len(kept)
    assert max(told_ids) <= ids


async def test_an_import_leaves_worktrees_out_of_whose_project_or_type_no_kept_event_tells(
    world: World, second: World, tmp_path: Path
) -> None:
    async with world.relay():
        # given: a project and a type that have not changed for long
        (old,) = world.write(1, 2, 0)
        world.rows(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't', 't') RETURNING 1"
        )
        await world.drained()
        await remove(world.database)
        # and what happened to worktrees since
        (young,) = world.write(1, 1, 0)
        world.rows("SELECT register_worktree(%s, 't', 'of the type', 't', '/t')", young)
        world.rows("UPDATE worktrees SET branch_name = 'other' WHERE project_id = %s RETURNING 1", old)
        world.rows("SELECT log_activity('ada', id, 'other', 'd') FROM worktrees")
        await world.drained()
    await export(world, tmp_path / "x")

    await import_(second, tmp_path / "x")

    assert second.rows("SELECT id FROM projects") == [(UUID(young),)]
    assert second.rows("SELECT project_id, name FROM worktrees") == [(UUID(young), "w0")]
    assert second.rows("SELECT count(*) FROM agent_activities") == [(4,)]
    assert (await verify(second.settings())).differences == []


async def test_names_that_are_the_first_thing_told_of_a_project_and_a_type_are_told_of_its_worktrees(
    world: World,
) -> None:
    async with world.relay():
        (project,) = world.write(1, 0, 0)
        world.rows(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't', 't') RETURNING 1"
        )
        await world.drained()
        await remove(world.database)
        world.rows("SELECT register_worktree(%s, 't', 'w', 't', '/w')", project)
        world.rows("UPDATE projects SET name = name || '!' RETURNING 1")
        world.rows("UPDATE worktree_types SET name = name || '!' WHERE name = 't' RETURNING 1")

    found = await verify(world.settings())

    assert (found.differences, found.equal) == ([], {"projects": 1, "worktrees": 1, "types": 1})
