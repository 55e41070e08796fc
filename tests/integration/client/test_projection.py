"""A projection follows the registry by itself, over everything that may happen to stream and servers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import monotonic
from typing import Any

import psycopg
import pytest
import structlog

from publisher.history.rebuild import rebuild
from publisher.outbox.connection import connect
from publisher.outbox.retention import remove_old
from registry.client import RegistryClient
from registry.client.projection import Projection, projection
from registry.client.snapshot import take_snapshot
from registry.history.snapshot import Snapshot
from tests.integration.history.test_snapshot import comparable
from tests.support.workload import writing
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("profile")


async def assert_up_to_date(one: Projection, world: World) -> None:
    """Fails unless the projection becomes what the tables are; nothing may be writing."""
    state = (await world.nats.jetstream().stream_info(world.stream)).state
    async with asyncio.timeout(20):
        await one.reached(state.last_seq)
    expected = await take_snapshot(world.nats, world.profile)
    tables = {"projects": one.projects, "worktrees": one.worktrees, "types": one.types}
    untold = {"updated_at", "last_sync_at"}
    found = {name: {id_: row.model_dump(exclude=untold) for id_, row in rows.items()} for name, rows in tables.items()}
    assert found == comparable(expected)


async def test_a_projection_follows_everything(world: World, profile: str) -> None:
    world.write()

    async with (
        world.relay(),
        world.history(),
        RegistryClient.connect(world.nats_url, prefix=world.prefix, profile=profile, proposed=True) as client,
        client.projection() as one,
    ):
        assert len(one.projects) == 2
        async with writing(world.database, writers=4, seed=2) as load:
            await load.reach(commits=60)
        with psycopg.connect(world.database) as conn:
            conn.execute("UPDATE projects SET name = name || '!'")
            conn.execute("UPDATE worktree_types SET name = 'renamed' WHERE name = 'load'")
            conn.execute("DELETE FROM projects WHERE name = 'p0!'")
        await world.drained()
        await assert_up_to_date(one, world)
        with psycopg.connect(world.database) as conn:
            conn.execute("TRUNCATE projects CASCADE")
            conn.execute("TRUNCATE worktree_types CASCADE")
        await world.drained()
        await assert_up_to_date(one, world)
        assert (one.projects, one.worktrees, len(one.types)) == ({}, {}, 6)


async def test_an_event_too_large_for_its_data_is_made_up_for_by_a_snapshot(world: World) -> None:
    world.write()

    async with (
        world.relay(),
        world.history(),
        projection(world.nats, world.profile) as one,
    ):
        with psycopg.connect(world.database) as conn:
            conn.execute("UPDATE projects SET metadata = jsonb_build_object('x', repeat('y', 1500000))")
        world.write(1)
        await world.drained()
        await assert_up_to_date(one, world)
        assert max(len(project.metadata.get("x", "")) for project in one.projects.values()) == 1500000


async def test_a_projection_whose_position_is_gone_takes_a_new_snapshot(world: World) -> None:
    """It is away for so long that stream and outbox have both moved on."""
    names = world.profile
    world.write()

    async with world.relay(), world.history():
        await world.drained()
        async with projection(world.nats, names) as one:
            pass
        world.write()
        await world.drained()
        async with connect(world.database, "test") as conn:
            await remove_old(conn, timedelta(0))
        await world.nats.jetstream().purge_stream(world.stream)
        async with one.following(world.nats, names):
            world.write(1)
            await world.drained()
            await assert_up_to_date(one, world)
        assert len(one.projects) == 5


async def test_while_the_stream_is_behind_every_snapshot_there_are_pauses_between_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it has lost its end, and its publisher is away: each snapshot is of more than it has."""
    taken: list[float] = []

    async def noted(*given: Any) -> Snapshot:
        taken.append(monotonic())
        return await take_snapshot(*given)

    world.write()
    async with world.history():
        async with world.relay():
            await world.drained()
        async with projection(world.nats, world.profile) as one:
            monkeypatch.setattr("registry.client.projection.take_snapshot", noted)
            jetstream = world.nats.jetstream()
            config = (await jetstream.stream_info(world.stream)).config
            await jetstream.delete_stream(world.stream)
            await jetstream.add_stream(config)
            with structlog.testing.capture_logs() as logged:
                async with asyncio.timeout(30):
                    while len(taken) < 6:
                        await asyncio.sleep(0.01)
            assert taken[-1] - taken[0] > 3, "each pause is twice as long as the one before, from 0.1 s on"
            told = [line for line in logged if line["event"] == "new snapshot" and line["log_level"] == "warning"]
            assert 1 <= len(told) < len(taken)
            # when it is completed
            await rebuild(world.settings())
            async with world.relay():
                world.write(1)
                await world.drained()
                await assert_up_to_date(one, world)


async def test_an_event_that_was_in_the_snapshot_already_is_reached_when_it_is_published(world: World) -> None:
    """What was committed and not published when the snapshot was taken is in it, and is not told again."""
    world.write(1)
    async with world.relay():
        await world.drained()
    world.write(1)

    async with world.history(), projection(world.nats, world.profile) as one:
        assert len(one.projects) == 2
        async with world.relay():
            await world.drained()
            last = (await world.nats.jetstream().stream_info(world.stream)).state.last_seq
            assert one.position.sequence < last
            async with asyncio.timeout(20):
                await one.reached(last)


async def test_a_message_of_somebody_else_is_reached(world: World) -> None:
    world.write(1)

    async with world.relay(), world.history(), projection(world.nats, world.profile) as one:
        await world.drained()
        stored = await world.nats.jetstream().publish(world.foreign_subject, b"{}")
        async with asyncio.timeout(20):
            await one.reached(stored.seq)


async def test_what_the_block_raises_is_raised(world: World) -> None:
    async with world.relay(), world.history():
        with pytest.raises(ZeroDivisionError):
            async with projection(world.nats, world.profile):
                raise ZeroDivisionError
