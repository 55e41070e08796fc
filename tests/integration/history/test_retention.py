"""Retention of the outbox: old events go, in small steps; what is not published, or not old, stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest
from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher.outbox.connection import connect
from publisher.outbox.retention import remove_old
from tests.integration.history.test_replay import row, write
from tests.support.histories import replayed, running_history, trim
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing

pytestmark = pytest.mark.usefixtures("profile")


async def remove(database: str, keep: timedelta = timedelta(0)) -> int:
    async with connect(database, "test") as conn:
        return (await remove_old(conn, keep)).events


def count(database: str, table: str = "outbox") -> int:
    query = {"outbox": "SELECT count(*) FROM outbox", "batches": "SELECT count(*) FROM published_batch"}[table]
    with psycopg.connect(database) as conn:
        return (conn.execute(query).fetchone() or (0,))[0]


async def test_what_is_not_published_stays_however_old_it_is(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    write(database)
    assert await remove(database) == 0
    async with running_relay(database, nats_url, prefix):
        await until_drained(database, prefix)
    published = count(database)
    write(database, 1)
    waiting = count(database) - published
    assert await remove(database) == published
    assert (count(database), count(database, "batches")) == (waiting, 0)
    async with running_relay(database, nats_url, prefix):
        await until_drained(database, prefix)
    assert len(await replayed(nats, prefix)) == published + waiting


async def test_what_another_stream_has_not_got_yet_stays(database: str, nats_url: str, prefix: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("INSERT INTO publisher_cursor (stream, published) VALUES ('OTHER', '{[1,4)}')")
    async with running_relay(database, nats_url, prefix, batch_size=1):
        write(database)
        await until_drained(database, prefix)
    assert await remove(database) == 3


async def test_what_is_young_stays_and_the_history_begins_with_it(
    database: str, nats_url: str, prefix: str, nats: Client
) -> None:
    async with running_relay(database, nats_url, prefix, batch_size=2):
        write(database)
        await until_drained(database, prefix)
        everything = await replayed(nats, prefix)
        with psycopg.connect(database) as conn:
            query = "UPDATE published_batch SET published_at = now() - interval '91 days' WHERE last_sequence <= 8"
            old = conn.execute(query).rowcount
        assert await remove(database, timedelta(days=90)) == 8
        assert old > 1
        assert count(database) == len(everything) - 8
        await trim(nats, prefix, len(everything))
        async with running_history(settings_for(database, nats_url, prefix)):
            assert row(await replayed(nats, prefix)) == row(everything)[8:]


async def test_the_relay_goes_on_over_removed_ids(database: str, nats_url: str, prefix: str, nats: Client) -> None:
    async with running_relay(database, nats_url, prefix) as metrics:
        write(database)
        await until_drained(database, prefix)
        await remove(database)
        write(database)
        await until_drained(database, prefix)
        told = await replayed(nats, prefix)
    async with running_relay(database, nats_url, prefix):  # recovers
        write(database, 0, 0, 1)
        await until_drained(database, prefix)
        assert len(await replayed(nats, prefix)) == len(told) + 4
    assert metrics.problems() == []


async def test_no_writer_ever_waits_for_retention(database: str, nats_url: str, prefix: str) -> None:
    """A writer gives up as soon as it waits for a lock at all: none does, and removal runs the whole time."""
    with psycopg.connect(database) as conn:
        conn.execute("SELECT register_project('p', 'git@github.com:a/b.git')")
        conn.execute(
            "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix)"
            " SELECT 't' || n, 't/', 't-' FROM generate_series(1, 8000) AS n"
        )
    async with running_relay(database, nats_url, prefix, batch_size=100):
        await until_drained(database, prefix)
        async with asyncio.TaskGroup() as tasks:
            removing = tasks.create_task(remove(database))
            writes = 0
            async with await AsyncConnection.connect(database, autocommit=True) as conn:
                await conn.execute("SET lock_timeout = '1ms'")
                while not removing.done():
                    await conn.execute("UPDATE projects SET description = %s", [str(writes)])
                    writes += 1
        assert removing.result() >= 8000
        assert writes > 1


@pytest.mark.parametrize("seed", [4])
async def test_retention_under_load_takes_nothing_from_the_stream(
    database: str, nats_url: str, prefix: str, nats: Client, seed: int
) -> None:
    async with running_relay(database, nats_url, prefix), writing(database, writers=4, seed=seed) as load:
        for _ in range(10):
            await load.reach(commits=10)
            await remove(database)
    async with running_relay(database, nats_url, prefix):
        await until_drained(database, prefix)
    told = await replayed(nats, prefix)
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    with psycopg.connect(database) as conn:
        (ids,) = conn.execute("SELECT last_value FROM outbox_id_seq").fetchone() or (0,)
        kept = {id_ for (id_,) in conn.execute("SELECT id FROM outbox").fetchall()}
    told_ids = {event.position.outbox_id for event in told}
    assert kept <= told_ids
    assert len(told_ids) == len(told) > len(kept)
    assert max(told_ids) <= ids
