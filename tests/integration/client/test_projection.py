"""A projection follows the registry by itself, over everything that may happen to stream and servers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest
from nats.aio.client import Client

from publisher.outbox.connection import connect
from publisher.outbox.retention import remove_old
from publisher.settings import load, profile_of
from registry.client import RegistryClient
from registry.client.projection import Projection, projection
from registry.client.snapshot import take_snapshot
from tests.integration.history.test_replay import write
from tests.integration.history.test_snapshot import comparable
from tests.support.histories import running_history, stream_of
from tests.support.relays import running_relay, settings_for, until_drained
from tests.support.workload import writing

pytestmark = pytest.mark.usefixtures("profile")


async def assert_up_to_date(one: Projection, nats: Client, prefix: str) -> None:
    """Fails unless the projection becomes what the tables are; nothing may be writing."""
    state = (await nats.jetstream().stream_info(stream_of(prefix))).state
    async with asyncio.timeout(20):
        await one.reached(state.last_seq)
    expected = await take_snapshot(nats, profile_of(load(prefix=prefix)))
    tables = {"projects": one.projects, "worktrees": one.worktrees, "types": one.types}
    untold = {"updated_at", "last_sync_at"}
    found = {name: {id_: row.model_dump(exclude=untold) for id_, row in rows.items()} for name, rows in tables.items()}
    assert found == comparable(expected)


async def test_a_projection_follows_everything(
    database: str, nats_url: str, nats: Client, prefix: str, profile: str
) -> None:
    write(database)
    async with (
        running_relay(database, nats_url, prefix),
        running_history(settings_for(database, nats_url, prefix)),
        RegistryClient.connect(nats_url, prefix=prefix, profile=profile) as client,
        client.projection() as one,
    ):
        assert len(one.projects) == 2
        async with writing(database, writers=4, seed=2) as load:
            await load.reach(commits=60)
        with psycopg.connect(database) as conn:
            conn.execute("UPDATE projects SET name = name || '!'")
            conn.execute("UPDATE worktree_types SET name = 'renamed' WHERE name = 'load'")
            conn.execute("DELETE FROM projects WHERE name = 'p0!'")
        await until_drained(database, prefix)
        await assert_up_to_date(one, nats, prefix)
        with psycopg.connect(database) as conn:
            conn.execute("TRUNCATE projects CASCADE")
            conn.execute("TRUNCATE worktree_types CASCADE")
        await until_drained(database, prefix)
        await assert_up_to_date(one, nats, prefix)
        assert (one.projects, one.worktrees, len(one.types)) == ({}, {}, 6)


async def test_an_event_too_large_for_its_data_is_made_up_for_by_a_snapshot(
    database: str, nats_url: str, nats: Client, prefix: str
) -> None:
    write(database)
    async with (
        running_relay(database, nats_url, prefix),
        running_history(settings_for(database, nats_url, prefix)),
        projection(nats, profile_of(load(prefix=prefix))) as one,
    ):
        with psycopg.connect(database) as conn:
            conn.execute("UPDATE projects SET metadata = jsonb_build_object('x', repeat('y', 1500000))")
        write(database, 1)
        await until_drained(database, prefix)
        await assert_up_to_date(one, nats, prefix)
        assert max(len(project.metadata.get("x", "")) for project in one.projects.values()) == 1500000


async def test_a_projection_whose_position_is_gone_takes_a_new_snapshot(
    database: str, nats_url: str, nats: Client, prefix: str
) -> None:
    """It is away for so long that stream and outbox have both moved on."""
    names = profile_of(load(prefix=prefix))
    write(database)
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        await until_drained(database, prefix)
        async with projection(nats, names) as one:
            pass
        write(database)
        await until_drained(database, prefix)
        async with connect(database, "test") as conn:
            await remove_old(conn, timedelta(0))
        await nats.jetstream().purge_stream(stream_of(prefix))
        async with one.following(nats, names):
            write(database, 1)
            await until_drained(database, prefix)
            await assert_up_to_date(one, nats, prefix)
        assert len(one.projects) == 5


async def test_what_the_block_raises_is_raised(database: str, nats_url: str, nats: Client, prefix: str) -> None:
    async with running_relay(database, nats_url, prefix), running_history(settings_for(database, nats_url, prefix)):
        with pytest.raises(ZeroDivisionError):
            async with projection(nats, profile_of(load(prefix=prefix))):
                raise ZeroDivisionError
