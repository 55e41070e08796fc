"""Nobody writes a mirror but its source: not by functions, not by plain SQL, not with settings that look the part."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.errors import ObjectNotInPrerequisiteState

from registry.client import RegistryClient
from registry.database import Registry
from registry.errors import Conflict
from tests.support.databases import name_of, plain_role, url_of
from tests.support.mirror.mirrors import Mirror
from tests.support.mirror.writes import WRITES
from tests.support.world import World

TOLD = r"read-only mirror of headquarters; change it there, or run imi-registry mirror promote"


@pytest.fixture
def writer(mirror: Mirror, admin_url: str) -> Iterator[str]:
    """The database as a user with every right on its tables, who owns none."""
    with plain_role(admin_url, mirror.database) as role:
        url = url_of(admin_url, name_of(mirror.database), role)
        with psycopg.connect(mirror.database, autocommit=True) as conn:
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                conn.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role.name}".encode())
        yield url


async def test_every_write_is_refused_with_the_name_of_the_source_and_nothing_changes(
    source: World, mirror: Mirror, writer: str
) -> None:
    source.write()
    async with mirror.following():
        await mirror.assert_same()
    with psycopg.connect(writer, autocommit=True) as conn:
        for statement in WRITES.values():
            with pytest.raises(ObjectNotInPrerequisiteState, match=TOLD):
                conn.execute(statement.encode())
    with psycopg.connect(mirror.database, autocommit=True) as conn:  # the owner, by mistake
        with pytest.raises(ObjectNotInPrerequisiteState, match=TOLD):
            conn.execute("UPDATE projects SET name = 'mine'")
        assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    await mirror.assert_same()


async def test_the_library_says_so_and_reads(source: World, mirror: Mirror) -> None:
    project, *_ = source.write()
    async with mirror.following():
        await mirror.assert_same()
    async with Registry.connect(mirror.database) as registry:
        assert (await registry.get_registry_stats()).total_projects == 2
        assert project in {str(one.id) for one in await registry.list_projects()}
        assert await registry.search_registry("p")
        with pytest.raises(Conflict, match=TOLD):
            await registry.register_project("n", "git@github.com:o/n.git")


async def test_a_mirror_answers_queries_at_its_own_site(source: World, mirror: Mirror) -> None:
    source.write()
    site = source.at(database=mirror.database, prefix=mirror.prefix)
    async with mirror.following(), site.queries():
        await mirror.assert_same()
        async with RegistryClient.connect(site.nats_url, prefix=site.prefix) as client:
            assert (await client.queries.stats()).total_projects == 2
            assert len((await client.queries.projects()).projects) == 2


def test_a_registry_that_has_something_becomes_no_mirror_unless_that_is_said(world: World) -> None:
    world.write()
    with psycopg.connect(world.database, autocommit=True) as conn:
        with pytest.raises(ObjectNotInPrerequisiteState, match="has projects or a history of its own"):
            conn.execute("SELECT begin_mirror('headquarters', 'S')")
        conn.execute("SELECT begin_mirror('headquarters', 'S', true)")
        with pytest.raises(ObjectNotInPrerequisiteState, match="is a mirror already, of headquarters"):
            conn.execute("SELECT begin_mirror('headquarters', 'S', true)")
