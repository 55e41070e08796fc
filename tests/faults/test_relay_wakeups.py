"""No wake-up is lost, whenever a writer commits while the relay goes to sleep.

The slow poll that would hide one is an hour away here: an event that does not ring hangs the test.
"""

from __future__ import annotations

import asyncio
import random

import psycopg
import pytest
from nats.aio.client import Client

from tests.support.audit import assert_exactly_once
from tests.support.relays import running_relay

WAIT_SECONDS = 20


@pytest.mark.parametrize("rounds", [3_000, pytest.param(30_000, marks=pytest.mark.long)])
async def test_a_commit_at_any_moment_of_the_relays_going_to_sleep_wakes_it(
    database: str, nats_url: str, prefix: str, nats: Client, rounds: int
) -> None:
    rng = random.Random(rounds)
    arrived = asyncio.Event()
    count = 0

    async def on_event(_: object) -> None:
        nonlocal count
        count += 1
        arrived.set()

    await nats.subscribe(f"{prefix}.evt.v1.>", cb=on_event)
    await nats.flush()
    async with (
        running_relay(database, nats_url, prefix, heartbeat_seconds=3600),
        await psycopg.AsyncConnection.connect(database, autocommit=True) as conn,
        await psycopg.AsyncConnection.connect(database) as other,
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
        await assert_exactly_once(database, nats_url, prefix, at_least=rounds + 1)


async def test_a_doorbell_that_someone_else_silenced_is_armed_again_by_the_heartbeat(
    database: str, nats_url: str, prefix: str
) -> None:
    async with running_relay(database, nats_url, prefix, heartbeat_seconds=0.2):
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("SELECT setval('publisher_doorbell', 0)")
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
            await assert_exactly_once(database, nats_url, prefix)
            async with asyncio.timeout(10):
                while conn.execute("SELECT last_value FROM publisher_doorbell").fetchone() != (1,):
                    await asyncio.sleep(0.01)


async def test_a_prepared_transaction_that_may_not_notify_is_published_after_its_commit(
    database: str, nats_url: str, prefix: str
) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        (allowed,) = conn.execute("SELECT current_setting('max_prepared_transactions')::int").fetchone() or (0,)
        if not allowed:
            pytest.skip("the server has max_prepared_transactions = 0")
        async with running_relay(database, nats_url, prefix, heartbeat_seconds=0.2):
            conn.execute("BEGIN")
            conn.execute("SET LOCAL imi.doorbell = 'off'")
            conn.execute("SELECT register_project('p', 'git@github.com:owner/p.git')")
            conn.execute("PREPARE TRANSACTION 'imi'")
            conn.execute("SELECT register_project('q', 'git@github.com:owner/q.git')")
            conn.execute("COMMIT PREPARED 'imi'")
            await assert_exactly_once(database, nats_url, prefix, at_least=2)
