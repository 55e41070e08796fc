"""The disk of a server is full: what was committed is published once there is room again, and health says so till then.

A nats-server that failed to write into a stream stores nothing more in it until it is restarted; PostgreSQL goes on by
itself, or ends when it was its log that found no room. Both are restarted here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher import embedded
from registry import migrate
from tests.audit import assert_exactly_once, audit, wait_until_published
from tests.faults.test_relay_server_restarts import Restartable, failing_more
from tests.relays import running_relay
from tests.workload import writing

SMALL_POSTGRES = {"min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "16MB"}


@pytest.fixture
def small_disk(state_dir: Path) -> Iterator[Path]:
    """A file system of 160 MB with nothing in it."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "imi-test", str(state_dir)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield state_dir
    subprocess.run(["umount", "--lazy", str(state_dir)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is; removing the file gives it back."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
    return filler


async def test_events_written_while_the_disk_of_nats_is_full_are_published_after_its_restart(
    database: str, prefix: str, small_disk: Path
) -> None:
    with Restartable(lambda: embedded.nats_server(small_disk)) as server:
        async with running_relay(database, server.url, prefix) as metrics:
            async with writing(database, writers=4) as load:
                await load.reach(commits=50)
                filler = fill(small_disk)
                async with asyncio.timeout(60):
                    while not metrics.problems():
                        await asyncio.sleep(0.01)
                await load.reach(commits=50)
                for _ in range(200):  # it goes on trying, and is not well in between
                    assert metrics.problems() != []
                    await asyncio.sleep(0.01)
                await server.stop(is_crash=False)
                filler.unlink()
                await server.start()
            await wait_until_published(database, prefix, 60)
            # The server keeps the first part of a batch that it failed to write.
            (await audit(database, server.url, prefix))._replace(split=[]).assert_clean(at_least=100)
        assert metrics.problems() == []


async def test_events_committed_before_the_disk_of_postgresql_was_full_are_all_published(
    nats_url: str, prefix: str, small_disk: Path
) -> None:
    with Restartable(lambda: embedded.postgres(small_disk, settings=SMALL_POSTGRES)) as server:
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        async with running_relay(server.url, nats_url, prefix) as metrics:
            async with writing(server.url, writers=4) as load:
                await load.reach(commits=50)
                filler = fill(small_disk)
                await failing_more(load)
                await server.stop(is_crash=False)
                filler.unlink()
                await server.start()
                await load.reach(commits=50)
            await assert_exactly_once(server.url, nats_url, prefix, at_least=100, timeout_seconds=60)
        assert metrics.problems() == []
