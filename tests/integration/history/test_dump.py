"""A registry moved by pg_dump, also to another major version: verified there, and its stream goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from publisher.embedded.postgres import postgres
from publisher.history.verification import verify
from registry.database import migrate
from tests.support.databases import Role, name_of, new_database
from tests.support.postgres.shell import shell
from tests.support.services import OTHER_POSTGRES, POSTGRES_SETTINGS, scratch_directory
from tests.support.world import World

PAGE = (Path(__file__).parents[3] / "docs" / "backup.md").read_text()
(HOME,) = re.findall(r"`(ALTER DATABASE … SET imi\.home_dir = '/home/ada')`", PAGE)
DUMP, RESTORE = re.findall(r"^\$ (pg_\w+ .*registry\.dump.*)$", PAGE, re.MULTILINE)


@pytest.fixture(params=["the same", "another"])
def source(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database on a server of the same major version as the tests' own, or of an older one."""
    if request.param == "another" and not OTHER_POSTGRES:
        pytest.skip("needs Debian's package postgresql")
    binaries = OTHER_POSTGRES[0].parent if request.param == "another" else None
    with (
        scratch_directory() as directory,
        postgres(directory, settings=POSTGRES_SETTINGS, bin_dir=binaries) as server,
    ):
        with psycopg.connect(server.url) as conn:
            migrate.apply(conn)
        yield server.url


async def test_a_dump_restored_elsewhere_is_the_registry_and_its_stream_goes_on(
    source: str, world: World, admin_url: str, owner: Role, tmp_path: Path
) -> None:
    here = world.at(database=source)
    async with here.relay():
        here.write()
        await here.drained()
        before = await here.published()
    here.rows("UPDATE projects SET description = 'waits in the dump' RETURNING id")

    with new_database(admin_url, owner) as url:
        for command in (DUMP, RESTORE):
            shell(command, tmp_path, DATABASE_URL=source, NEW_DATABASE_URL=url)
        there = world.at(database=url)
        ((home,),) = here.rows("SHOW imi.home_dir")
        assert there.rows("SELECT current_setting('imi.home_dir', true)") == [(None,)]
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(HOME.replace("…", name_of(url)).replace("/home/ada", home).encode())
        assert there.rows("SHOW imi.home_dir") == [(home,)]
        found = await verify(there.settings())
        assert found.differences == []
        assert found.equal["projects"] == 2
        async with there.relay():
            there.rows("UPDATE projects SET description = 'written here' RETURNING id")
            await there.assert_exactly_once(at_least=len(before) + 4)
            after = await there.published()
    assert after[: len(before)] == before
    told = [event.envelope["data"]["description"] for event in after[len(before) :]]
    assert told == ["waits in the dump"] * 2 + ["written here"] * 2
