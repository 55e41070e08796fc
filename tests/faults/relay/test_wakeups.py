"""No wake-up is lost, whenever a writer commits while the relay goes to sleep.

The slow poll that would hide one is an hour away here: an event that does not ring hangs the test.
"""

from __future__ import annotations

import asyncio
import random

import psycopg
import pytest

from registry.broker.connection import flushed
from tests.support.world import World

WAIT_SECONDS = 20


@pytest.mark.parametrize("rounds", [1_000, pytest.param(30_000, marks=pytest.mark.long)])
async def test_a_commit_at_any_moment_of_the_relays_going_to_sleep_wakes_it(world: World, rounds: int) -> None:
    rng = random.Random(rounds)
    arrived = asyncio.Event()
    count = 0

    async def on_event(_: object) -> None:
        nonlocal count
        count += 1
        arrived.set()

    await world.nats.subscribe(f"{world.prefix}.evt.v1.>", cb=on_event)
    await flushed(world.nats)
    async with (
        world.relay(heartbeat_seconds=3600),
        await psycopg.AsyncConnection.connect(world.database, autocommit=True) as conn,
        await psycopg.AsyncConnection.connect(world.database) as other,
    ):
        await conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
        written = 1
        for _ in range(rounds):
            # The race: the commit hits the relay anywhere between its acknowledgement and its sleep.
            until = asyncio.get_running_loop().time() + rng.random() * 0.003
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0)
            if rng.random() < 0.1:  # an id that is handed out and never appears
                await other.execute("UPDATE projects SET description = gen_random_uuid()::text")
                await other.rollback()
            await conn.execute("UPDATE projects SET description = gen_random_uuid()::text")
            written += 1
            async with asyncio.timeout(WAIT_SECONDS):
                while count < written:
                    arrived.clear()
                    await arrived.wait()
        await world.assert_exactly_once(at_least=rounds + 1)


async def test_a_doorbell_that_someone_else_silenced_is_armed_again_by_the_heartbeat(world: World) -> None:
    async with world.relay(heartbeat_seconds=0.2):
        with psycopg.connect(world.database, autocommit=True) as conn:
            conn.execute("SELECT setval('publisher_doorbell', 0)")
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
            await world.assert_exactly_once()

            async with asyncio.timeout(10):
                while conn.execute("SELECT last_value FROM publisher_doorbell").fetchone() != (1,):
                    await asyncio.sleep(0.01)


async def test_a_prepared_transaction_that_may_not_notify_is_published_after_its_commit(world: World) -> None:
    with psycopg.connect(world.database, autocommit=True) as conn:
        (allowed,) = conn.execute("SELECT current_setting('max_prepared_transactions')::int").fetchone() or (0,)
        if not allowed:
            pytest.skip("the server has max_prepared_transactions = 0")

        async with world.relay(heartbeat_seconds=0.2):
            conn.execute("BEGIN")
            conn.execute("SET LOCAL imi.doorbell = 'off'")
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
            conn.execute("PREPARE TRANSACTION 'imi'")
            conn.execute("SELECT register_project('q', 'git@github.com:owner/q.git')")
            conn.execute("COMMIT PREPARED 'imi'")
            await world.assert_exactly_once(at_least=2)
