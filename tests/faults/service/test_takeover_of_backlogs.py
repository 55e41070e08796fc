"""The process that leads is killed while a flood of events and commands waits: the other one carries on with both."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

import psycopg

from tests.faults.applier.test_backlog import UNLIMITED, fill
from tests.support.commands import ORIGIN
from tests.support.world import World

COMMANDS = 2_000
TRANSACTIONS, EVENTS = 10, 2_000
"""So many transactions, each of so many events."""
WRITE = """
INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)
SELECT 'a', (SELECT id FROM worktrees), 'modified', 'row ' || n FROM generate_series(1, %s) AS n
"""
NUMBERS = """
SELECT project_id, data #>> '{metadata, last}'
FROM outbox
WHERE entity = 'project' AND data #>> '{metadata, last}' IS NOT NULL
ORDER BY id
"""


async def test_a_process_killed_in_a_flood_is_followed_by_the_other_one(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        found = conn.execute("SELECT register_project('p', %s)", [ORIGIN.replace("/p", "/flood")]).fetchone()
        conn.execute("SELECT register_worktree(%s, 'feat', 'w', 'feat/w', '/p/w')", found)
    commands = world.names.commands.stream

    with world.process(**UNLIMITED) as leader:
        await leader.until_logged("leading")
        await leader.ready()
        with world.process(**UNLIMITED) as follower:
            await follower.ready()
            # given
            async with AsyncExitStack() as stack:
                writers = [
                    await stack.enter_async_context(await psycopg.AsyncConnection.connect(world.database))
                    for _ in range(TRANSACTIONS)
                ]
                for writer in writers:
                    await writer.execute(WRITE, [EVENTS])
                await fill(world, COMMANDS, padding=0)
                for writer in writers:
                    await writer.commit()
            async with asyncio.timeout(60):
                while (await world.nats.jetstream().stream_info(world.stream)).state.messages < EVENTS:
                    await asyncio.sleep(0.005)
            # when
            leader.kill()
            await leader.exit_code()
            published = (await world.nats.jetstream().stream_info(world.stream)).state.messages
            waiting = (await world.nats.jetstream().stream_info(commands)).state.messages
            assert (published < TRANSACTIONS * EVENTS, waiting > 0) == (True, True)
            # then
            await world.commands_done()
            await world.assert_exactly_once(at_least=TRANSACTIONS * EVENTS)
            assert follower.logged("leading")
    applied = [command_id for command_id, *_ in world.outcome_events()]
    assert len(applied) == len(set(applied)) == COMMANDS
    of_projects: dict[object, list[int]] = defaultdict(list)
    for project_id, last in world.rows(NUMBERS):
        of_projects[project_id].append(int(last.removeprefix("name-")))
    assert sorted(number for numbers in of_projects.values() for number in numbers) == list(range(COMMANDS))
    assert all(numbers == sorted(numbers) for numbers in of_projects.values())
