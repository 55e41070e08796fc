"""The disk of a server is full: nothing is lost or done twice, all is made up for later, and health says so till then.

A nats-server that failed to write into a stream stores nothing more in it until it is restarted; PostgreSQL goes on by
itself, or ends when it was its log that found no room. Both are restarted here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.nats_server import nats_server
from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.faults.relay.test_server_restarts import failing_more
from tests.support.commands import envelope
from tests.support.servers.disks import Disk, can_mount, disk
from tests.support.servers.restartable import Restartable
from tests.support.workload import writing
from tests.support.world import World

SMALL_POSTGRES = {"min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "16MB"}


@pytest.fixture
def own_disk(state_dir: Path) -> Iterator[Disk]:
    """A file system with nothing in it."""
    if not can_mount():
        pytest.skip("a file system cannot be mounted here")
    with disk(state_dir / "disk") as found:
        yield found


async def test_events_written_while_the_disk_of_nats_is_full_are_published_after_its_restart(
    world: World, own_disk: Disk
) -> None:
    with Restartable(partial(nats_server, own_disk.folder)) as server:
        there = world.at(nats_url=server.url)

        async with there.relay() as metrics:
            async with writing(world.database, writers=4) as load:
                await load.reach(commits=50)
                own_disk.fill()
                async with asyncio.timeout(60):
                    while not metrics.problems():
                        await asyncio.sleep(0.01)
                await load.reach(commits=50)
                for _ in range(200):  # it goes on trying, and is not well in between
                    assert metrics.problems() != []
                    await asyncio.sleep(0.01)
                await server.stop(is_crash=False)
                own_disk.make_room()
                await server.start()
            await world.drained(60)
            # The server keeps the first part of a batch that it failed to write.
            (await there.audit())._replace(split=[]).assert_clean(at_least=100)

        assert metrics.problems() == []


async def test_events_committed_before_the_disk_of_postgresql_was_full_are_all_published(
    world: World, own_disk: Disk
) -> None:
    with Restartable(partial(postgres, own_disk.folder, settings=SMALL_POSTGRES)) as server:
        there = world.at(database=server.url)

        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        async with there.relay() as metrics:
            async with writing(server.url, writers=4) as load:
                await load.reach(commits=50)
                own_disk.fill()
                await failing_more(load)
                await server.stop(is_crash=False)
                own_disk.make_room()
                await server.start()
                await load.reach(commits=50)
            await there.assert_exactly_once(at_least=100, timeout_seconds=60)

        assert metrics.problems() == []


async def test_commands_that_find_the_disk_of_postgresql_full_wait_and_are_each_applied_once(
    world: World, own_disk: Disk
) -> None:
    def registration(number: int) -> bytes:
        origin = f"git@github.com:a/p{number % 20}.git"
        metadata = {"last": f"name-{number}", "noise": secrets.token_hex(3000)}
        data = {"name": "p", "remote_origin": origin, "metadata": metadata}
        return envelope("project.register", data)

    with Restartable(partial(postgres, own_disk.folder, settings=SMALL_POSTGRES)) as server:
        there = world.at(database=server.url)
        with psycopg.connect(server.url, autocommit=True) as conn:
            migrate.apply(conn)
            conn.execute("CREATE TABLE more AS SELECT 'x' AS filling")
            async with there.applier() as metrics:
                # given
                for number in range(100):
                    await world.send("project.register", registration(number))
                await world.commands_done()
                own_disk.fill()
                with pytest.raises(psycopg.errors.DiskFull):
                    conn.execute("INSERT INTO more SELECT repeat('x', 1000) FROM generate_series(1, 1000)")

                # when more commands come than the files at hand have room for
                for number in range(100, 400):
                    await world.send("project.register", registration(number))
                async with asyncio.timeout(20):
                    while server.is_running and "No space left on device" not in str(metrics.problems()):
                        await asyncio.sleep(0.01)
                assert await world.commands_waiting() > 0
                own_disk.make_room()
                if not server.is_running:
                    await server.stop(is_crash=False)
                    await server.start()

                # then
                await world.commands_done(60)
                assert metrics.problems() == []
                assert metrics.dead_letters == 0
        assert [verdict for *_, verdict in there.outcome_events()] == ["applied"] * 400
        changes = there.rows("SELECT data #>> '{metadata, last}' FROM outbox WHERE entity = 'project' ORDER BY id")
        for project in range(20):
            names = [f"name-{number}" for number in range(project, 400, 20)]
            assert [name for (name,) in changes if name in names] == names
