"""An import that is killed half-way leaves nothing, and the next one brings in all."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.integration.history.test_archive import export, import_, tables
from tests.support.processes import COMMAND, environment
from tests.support.services import wait_until
from tests.support.world import World

COPIED = "SELECT coalesce(sum(tuples_processed), 0) FROM pg_stat_progress_copy WHERE datname = current_database()"


def import_and_kill(file: Path, pipe: Path, settings: dict[str, str]) -> None:
    """Import the first half of `file`, and kill the process when some of it is in the database."""
    half = file.read_bytes()[: file.stat().st_size // 2]
    os.mkfifo(pipe)
    writing = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    process = subprocess.Popen([*COMMAND, "events", "import", str(pipe)], env=environment(**settings))
    with psycopg.connect(settings["DATABASE_URL"], autocommit=True) as conn:

        def has_copied() -> bool:
            nonlocal half
            assert process.poll() is None
            with suppress(BlockingIOError):  # the pipe is full
                half = half[os.write(writing, half) :] if half else half
            return (conn.execute(COPIED).fetchone() or (0,))[0] > 0

        wait_until(has_copied)
        process.kill()
        process.wait()
        os.close(writing)
        wait_until(lambda: conn.execute("SELECT FROM pg_stat_progress_copy").fetchone() is None)


async def test_an_import_killed_half_way_leaves_nothing_and_the_next_one_succeeds(
    world: World, second: World, tmp_path: Path
) -> None:
    for _ in range(5):
        world.write(10)
    file = tmp_path / "history.jsonl"
    events = await export(world, file)
    settings = {"DATABASE_URL": second.database, "NATS_URL": world.nats_url, "IMI_PREFIX": world.prefix}
    before = tables(second.database)

    await asyncio.to_thread(import_and_kill, file, tmp_path / "pipe", settings)

    assert tables(second.database) == before
    assert await import_(second, file) == events
    assert tables(second.database)[-1] == tables(world.database)[-1]
