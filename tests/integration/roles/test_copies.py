"""A mirror is kept up to date by a service that has the rights of a publisher and of a reader alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import name_of
from tests.support.mirror.mirrors import Mirror
from tests.support.outbox.changes import rename_project
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated
from tests.support.world import World


@pytest.fixture
def urls(cluster: str) -> Iterator[dict[str, str]]:
    """A database as its owner, and as who publishes and who reads."""
    create_roles(cluster)
    with (
        migrated(cluster) as (as_owner, as_superuser),
        login(cluster, "imi_publisher") as publisher,
        login(cluster, "imi_reader") as reader,
        connect(as_superuser) as conn,
    ):
        names = f'"{publisher.name}", "{reader.name}"'
        conn.execute(f'GRANT CONNECT ON DATABASE "{name_of(as_owner)}" TO {names}'.encode())
        yield {
            "owner": as_owner,
            "publisher_database_url": as_login(as_owner, publisher),
            "reader_database_url": as_login(as_owner, reader),
        }
        conn.execute(f'REVOKE CONNECT ON DATABASE "{name_of(as_owner)}" FROM {names}'.encode())


async def test_a_mirror_is_followed_with_the_rights_of_a_publisher(world: World, urls: dict[str, str]) -> None:
    mirror = Mirror(world, urls.pop("owner"))
    async with world.relay(), world.history(), world.queries():
        world.write()
        with mirror.process(**urls) as process:
            await process.ready()
            await mirror.assert_same()
            rename_project(world.database, 5)
            await mirror.assert_same()
            with connect(mirror.database) as conn:
                conn.execute("UPDATE mirror_source SET position = ''")  # as mirror refresh does
            await mirror.until("snapshots", 2)
            await mirror.assert_same()
            users = mirror.source.at(database=mirror.database).rows(
                "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name LIKE 'imi-reg%%'"
            )
            assert users
            assert not any(user in mirror.database for (user,) in users), "nobody is the owner"
            code, body = await process.readyz()
            assert (code, body["problems"]) == (200, [])
