"""Large rows of answers: read over a connection of their own, those of one answer at a time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import psycopg

from publisher.query_service.reader import Reader
from registry.database import Registry
from registry.models import Project
from tests.support.world import World

ROOM = 1024 * 1024
LARGE = """
INSERT INTO projects (name, remote_origin, trunk_path, metadata)
VALUES ('large', 'git@github.com:owner/large.git', '/srv/large', jsonb_build_object('blob', repeat('abcdefgh', 25000)))
RETURNING id
"""


async def test_a_large_row_waits_until_the_answer_before_it_is_sent(world: World) -> None:
    with psycopg.connect(world.database) as conn:
        ((project_id,),) = conn.execute(LARGE).fetchall()
    turn = asyncio.Lock()
    read_over: list[Registry] = []

    async with AsyncExitStack() as stack:
        few, large = [
            await stack.enter_async_context(Registry.connect(world.database, passes_on=True)) for _ in range(2)
        ]

        async def read(registry: Registry, most: int) -> Project | None:
            read_over.append(registry)
            return await registry.get_project(project_id, most_bytes=most)

        second = Reader(few, large, ROOM, turn)
        async with Reader(few, large, ROOM, turn) as first:
            found = await first.one(read)
            assert found is not None
            assert not found.is_shortened
            waiting = asyncio.ensure_future(second.one(read))
            while len(read_over) < 3:
                await asyncio.sleep(0)
            assert (first.has_turn, second.has_turn, waiting.done()) == (True, False, False)
        async with second:
            assert await waiting is not None

        assert not turn.locked()
        assert read_over == [few, large, few, large]
