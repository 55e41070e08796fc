"""Where events do not lead on: outages longer than the stream or the outbox remembers, sources rebuilt and restored."""

from __future__ import annotations

import asyncio

import psycopg

from publisher.history.rebuild import rebuild
from tests.support.databases import Role, name_of, new_database
from tests.support.mirror.mirrors import Mirror
from tests.support.outbox.changes import rename_project
from tests.support.parts import until
from tests.support.proxy import Direction, postgres_proxy
from tests.support.world import World, running


async def known(source: World, mirror: Mirror) -> None:
    """Both have something, and the mirror has followed."""
    async with mirror.following():
        source.write()
        await mirror.assert_same()


async def test_what_the_stream_no_longer_holds_comes_from_the_outbox_of_the_source(
    source: World, mirror: Mirror
) -> None:
    await known(source, mirror)
    source.write(projects=3)
    await source.drained()
    last = (await source.nats.jetstream().stream_info(source.stream)).state.last_seq
    await source.trim(last)
    async with mirror.following():
        await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)


async def test_what_the_outbox_no_longer_holds_either_needs_a_snapshot(source: World, mirror: Mirror) -> None:
    await known(source, mirror)
    rename_project(source.database, 5)
    with psycopg.connect(source.database, autocommit=True) as conn:
        conn.execute("DELETE FROM worktrees")
    await source.drained()
    last = (await source.nats.jetstream().stream_info(source.stream)).state.last_seq
    await source.trim(last)
    with psycopg.connect(source.database, autocommit=True) as conn:
        conn.execute("SELECT forget_published('0 s', 100000)")
    async with mirror.following():
        await mirror.assert_same()
    snapshots, reason = mirror.state("snapshots", "snapshot_reason")
    assert snapshots == 2
    assert "no longer kept" in reason


async def test_a_stream_that_is_rebuilt_goes_on_without_a_snapshot(world: World, mirror: Mirror) -> None:
    async with world.history(), world.queries():
        async with world.relay():
            await known(world, mirror)
        async with mirror.following() as health:
            await world.delete_stream()
            async with asyncio.timeout(60):
                while not health.problems():
                    await asyncio.sleep(0.02)
            await rebuild(world.settings())
            async with world.relay():
                rename_project(world.database, 3)
                await mirror.assert_same()
    assert mirror.state("snapshots") == (1,)


async def test_a_source_that_is_restored_from_a_backup_takes_its_mirror_back(
    world: World, mirror: Mirror, admin_url: str, owner: Role
) -> None:
    async with world.relay(), world.history(), world.queries():
        await known(world, mirror)
    with new_database(admin_url, owner, name_of(world.database)) as copy:
        async with world.relay(), world.history(), world.queries(), mirror.following():
            rename_project(world.database, 5)
            await mirror.assert_same()
        restored = world.at(database=copy)
        mirror.source = restored
        async with restored.relay(), restored.history(), restored.queries(), mirror.following():
            await mirror.until("snapshots", 2)
            rename_project(restored.database, 7)
            await mirror.assert_same()
    assert "restored" in mirror.state("snapshot_reason")[0]


async def test_another_registry_in_the_place_of_the_source_is_not_followed_until_somebody_says_so(
    world: World, mirror: Mirror, second: World
) -> None:
    async with world.relay(), world.history(), world.queries():
        await known(world, mirror)
        await world.drained()
    await world.delete_stream()
    with psycopg.connect(second.database, autocommit=True) as conn:  # both are copies of one template
        conn.execute("UPDATE registry_metadata SET registry_id = gen_random_uuid()")
    async with second.relay(), second.history(), second.queries():
        rename_project(second.database, 2)
        follower = mirror.follower()
        async with running(follower):
            await until(follower, "refresh --other-source")
            assert mirror.state("snapshots") == (1,)
            with psycopg.connect(mirror.database, autocommit=True) as conn:
                conn.execute("UPDATE mirror_source SET position = '', registry_id = NULL, epoch = 0")
            mirror.source = second
            await mirror.until("snapshots", 2)
            await mirror.assert_same()
    assert mirror.state("snapshots") == (2,)


def damage(mirror: Mirror) -> None:
    """Its rows are gone, and nothing says so."""
    with psycopg.connect(mirror.database, autocommit=True) as conn:
        conn.execute("ALTER TABLE projects DISABLE TRIGGER mirror_refuses")
        conn.execute("ALTER TABLE worktrees DISABLE TRIGGER mirror_refuses")
        conn.execute("DELETE FROM projects")
        conn.execute("ALTER TABLE projects ENABLE ALWAYS TRIGGER mirror_refuses")
        conn.execute("ALTER TABLE worktrees ENABLE ALWAYS TRIGGER mirror_refuses")


async def test_a_snapshot_that_was_committed_unheard_is_not_taken_again(source: World, mirror: Mirror) -> None:
    await known(source, mirror)
    damage(mirror)
    async with postgres_proxy(mirror.database) as (proxy, through):
        commits: list[bytes] = []

        def loses_the_answer(direction: Direction, data: bytes) -> bool:
            if direction == "to_server":
                commits.extend([data] if b"COMMIT" in data else [])
            elif commits:
                proxy.cut()
                proxy.swallow = None
                return True
            return False

        proxy.swallow = loses_the_answer
        async with Mirror(source, through, is_set_up=False).following():
            with psycopg.connect(source.database, autocommit=True) as conn:
                conn.execute("UPDATE worktrees SET ahead_of_trunk = 3")
            async with asyncio.timeout(60):
                while proxy.swallow is not None:
                    await asyncio.sleep(0.02)
            rename_project(source.database, 2)
            await mirror.assert_same()
    assert mirror.state("snapshots") == (2,)


async def test_rows_that_somebody_damaged_are_mended_by_a_snapshot(source: World, mirror: Mirror) -> None:
    await known(source, mirror)
    damage(mirror)
    async with mirror.following():
        with psycopg.connect(source.database, autocommit=True) as conn:
            conn.execute("UPDATE worktrees SET ahead_of_trunk = 3")
        await mirror.assert_same()
    snapshots, reason = mirror.state("snapshots", "snapshot_reason")
    assert snapshots == 2
    assert "does not fit" in reason


async def test_without_a_publisher_a_mirror_that_has_something_goes_on_and_says_so(
    world: World, mirror: Mirror
) -> None:
    async with world.relay():
        async with world.history(), world.queries():
            await known(world, mirror)
        async with mirror.following() as health:
            rename_project(world.database, 3)
            await mirror.assert_same()
            assert "cannot be asked whether it was restored" in " ".join(health.notes())
            assert health.problems() == []
