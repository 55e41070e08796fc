"""The code of an earlier commit beside that of today: each takes over from the other, and its clients from its clients.

Writers, components that send commands and ask queries, of either version, and a durable subscriber work meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import takewhile
from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from registry.database.migrate import Migration
from tests.faults.suite import writers
from tests.faults.upgrade.side_by_side import SideBySide, attended
from tests.faults.upgrade.versions import earlier, migrated, serve
from tests.support.world import World

EARLIER = {
    9: "5215f34",
    10: "563eb37",
    11: "8d0a454",
    12: "2ae9565",
    13: "d1feb64",
    14: "b0a8eca",
    18: "c037611",
    20: "0789a27",
    26: "ba98a41",
}
"""Commits, by the newest migration that they know. Those before need packages that are not ours any more."""


def later(knows: int) -> list[Migration]:
    """The migrations that code does not know which knows them up to `knows`."""
    return [migration for migration in migrate.load() if migration.version > knows]


def borne(knows: int) -> list[Migration]:
    """Of these the first ones, as long as each says that it is compatible down to that code."""
    return list(takewhile(lambda one: (one.compatible_down_to or one.version) <= knows, later(knows)))


@pytest.fixture
def knows() -> int:
    """The newest migration that the earliest code knows which bears all of today's."""
    found = [knows for knows in EARLIER if borne(knows) == later(knows)]
    if not found:
        pytest.skip("a migration of today is borne by no earlier code: no upgrade without an interruption is promised")
    return found[0]


@pytest.fixture
async def there(world: World, empty_database: str, tmp_path: Path, knows: int) -> AsyncIterator[SideBySide]:
    """One on a database as the earlier code made it."""
    folder = tmp_path / "history"
    folder.mkdir()
    found = SideBySide(world.at(database=empty_database), earlier(EARLIER[knows], knows, tmp_path / "old"), folder)
    await migrated(found.world, found.old, "up")
    with psycopg.connect(empty_database) as conn:
        writers.prepare(conn)
    try:
        yield found
    finally:
        found.close()


async def test_an_earlier_version_is_replaced_process_by_process(there: SideBySide, knows: int) -> None:
    first, second = await there.start(there.old), await there.start(there.old)
    there.subscribe(there.old)
    async with attended(there):
        await there.served()

        # when: migrated, an old one comes back, and each is replaced
        told = await migrated(there.world, there.new, "up")
        assert all(f"applied {migration.name}" in told for migration in later(knows))
        first.kill()
        first = await there.start(there.old)
        await there.served()
        await there.stop(second)
        second = await there.start(there.new)
        await there.stop(first)
        there.subscribe(there.new)
        await there.served()

        # then
        assert await migrated(there.world, there.new, "up", "--afterwards") == "nothing to apply\n"


@pytest.mark.long
async def test_there_is_a_way_back_from_each_step(there: SideBySide, knows: int) -> None:
    newest = later(knows)[-1].name
    first, second = await there.start(there.old), await there.start(there.old)
    there.subscribe(there.old)
    async with attended(there):
        await there.served()
        await migrated(there.world, there.new, "up")
        await there.served()
        for is_killed in (False, True):
            # an old one takes over from an old one, a new one from that, an old one from that, and so on
            for code in (there.old, there.new, there.old, there.new, there.old):
                if is_killed:
                    first.kill()
                else:
                    await there.stop(first)
                first, second = second, await there.start(code)
                there.subscribe(code)
                await there.served()

        # the schema goes back, too
        await there.stop(first)
        first = await there.start(there.old)
        told = await migrated(there.world, there.new, "down", "--to", f"{knows:03}", "--yes")
        assert newest in told
        await there.served()
        await there.stop(first)
        first = await there.start(there.old)
        await there.stop(second)
        there.subscribe(there.old)
        await there.served()

        # a new one is refused by it, with what is missing
        refused = serve(there.world, there.new)
        try:
            assert await refused.exit_code() == 1
            assert newest in refused.log()[-1]["event"]
        finally:
            refused.close()

        # and it goes up again
        await migrated(there.world, there.new, "up")
        second = await there.start(there.new)
        await there.stop(first)
        there.subscribe(there.new)
        await there.served()


@pytest.mark.long
@pytest.mark.parametrize("knows", [knows for knows in EARLIER if borne(knows)])
async def test_a_migration_is_compatible_as_far_down_as_it_says(there: SideBySide, knows: int) -> None:
    newest = borne(knows)[-1].version
    next_ones = later(newest)[:1]
    first, second = await there.start(there.old), await there.start(there.old)
    there.subscribe(there.old)
    async with attended(there):
        await there.served()

        # when: those that say so are applied, an old one comes back, and has the lead
        await applied_to(there, newest)
        await there.served()
        first.kill()
        first = await there.start(there.old)
        await there.stop(second)
        await there.served()

        # then: by the next one, if there is one, an old one that comes is refused
        for one in next_ones:
            await applied_to(there, one.version)
            refused = serve(there.world, there.old)
            try:
                assert await refused.exit_code() == 1
                assert one.name in refused.log()[-1]["event"]
            finally:
                refused.close()

        # and today's goes on where it was
        await migrated(there.world, there.new, "up")
        await there.start(there.new)
        await there.stop(first)
        there.subscribe(there.new)
        await there.served()


async def applied_to(there: SideBySide, version: int) -> None:
    """Apply the migrations up to `version`, as code that knows no later one does."""

    def apply() -> None:
        with psycopg.connect(there.world.database) as conn:
            migrate.apply(conn, migrations=[one for one in migrate.load() if one.version <= version])

    await asyncio.to_thread(apply)
