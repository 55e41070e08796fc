"""A stream that takes nothing more: publishers hand the lead to each other ever less often, and go on when it does."""

from __future__ import annotations

import asyncio
from time import monotonic

import psycopg

from tests.support.world import World

CHANGES = 5


async def epoch_of(conn: psycopg.AsyncConnection) -> int:
    """How often somebody has taken the lead."""
    found = await (await conn.execute("SELECT epoch FROM publisher_cursor")).fetchone()
    return int(found[0]) if found else 0


async def test_a_full_stream_is_handed_on_ever_less_often(world: World) -> None:
    jetstream = world.nats.jetstream()
    async with (
        world.relay(),
        world.relay(),
        await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn,
    ):
        # given
        world.write(projects=1, worktrees=0, renames=1)
        await world.drained()
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config.evolve(max_msgs=2, discard="new"))

        # when
        world.write(projects=1, worktrees=0, renames=1)
        changed: list[float] = []
        epoch = await epoch_of(conn)
        async with asyncio.timeout(120):
            while len(changed) < CHANGES:
                await asyncio.sleep(0.02)
                if (now := await epoch_of(conn)) > epoch:
                    epoch = now
                    changed.append(monotonic())

        # then
        assert changed[-1] - changed[-2] > changed[1] - changed[0]
        await jetstream.update_stream(config.evolve(max_msgs=-1))
        await world.assert_exactly_once(at_least=4, timeout_seconds=60)
