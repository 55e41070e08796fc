"""Thousands of gaps in the outbox: made, held open, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from psycopg import AsyncConnection

from tests.support.world import World

WRITE_WITH_GAPS = """
DO $$
BEGIN
    FOR number IN 1..{count} LOOP
        UPDATE projects SET description = gen_random_uuid()::text WHERE id = '{project}';
        PERFORM nextval('outbox_id_seq');  -- as one that is rolled back
    END LOOP;
END
$$
"""
KNOWN = """
SELECT public.published_ids(cursor), published, stream_sequence, complete_sequence
FROM publisher_cursor AS cursor
WHERE stream = %s
"""


def register(world: World, name: str) -> UUID:
    """Id of a project with an origin of this name."""
    ((project,),) = world.rows("SELECT register_project('p', %s)", f"git@github.com:owner/{name}.git")
    assert isinstance(project, UUID)
    return project


async def touch(conn: AsyncConnection, project: UUID) -> None:
    """One event of this project."""
    await conn.execute("UPDATE projects SET description = gen_random_uuid()::text WHERE id = %s", [project])


async def write_with_gaps(conn: AsyncConnection, project: UUID, count: int) -> None:
    """So many events, and a gap behind each of them."""
    await conn.execute(WRITE_WITH_GAPS.format(count=count, project=project))


def is_published(world: World) -> bool:
    """Whether everything is that is visible."""
    query = """
        SELECT published_ids(cursor) @> (SELECT range_agg(int8range(id, id + 1)) FROM outbox)
        FROM publisher_cursor AS cursor
        WHERE stream = %s
    """
    return world.rows(query, world.stream) == [(True,)]


async def until_published(world: World) -> None:
    """Wait until everything is that is visible."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(is_published, world):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def idle(world: World, name: str = "idle") -> AsyncIterator[AsyncConnection]:
    """A transaction that has an outbox id and stays open."""
    project = register(world, name)
    async with await AsyncConnection.connect(world.database) as conn:
        await touch(conn, project)
        yield conn
