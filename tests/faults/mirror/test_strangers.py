"""Who may connect to a mirror, and has no right in it, keeps nobody from following."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from publisher.mirror.follower import KEY
from tests.support.databases import Role, name_of, new_database, plain_role, url_of
from tests.support.mirror.mirrors import Mirror
from tests.support.world import World


@pytest.fixture
def mirror(world: World, admin_url: str, owner: Role, template_database: str) -> Iterator[Mirror]:
    with new_database(admin_url, owner, template_database) as database:
        yield Mirror(world, database)


async def test_a_stranger_who_holds_the_locks_of_the_follower_keeps_nothing_back(
    world: World, mirror: Mirror, admin_url: str
) -> None:
    with plain_role(admin_url) as role:
        url = url_of(mirror.database, name_of(mirror.database), role)
        with psycopg.connect(url, autocommit=True, application_name="imi-registry forged") as conn:
            for number in range(3):
                conn.execute(f"SELECT pg_advisory_lock({KEY})".encode(), {"number": number})
            world.write()
            # one follows, the other stands by: the stranger is no reason to follow beside each other
            async with (
                world.relay(),
                world.history(),
                world.queries(),
                mirror.following() as first,
                mirror.following() as second,
            ):
                await mirror.assert_same()
                assert {first.role, second.role} == {"leader", "standby"}
                # what he lets go another one may take: the position keeps both apart
                conn.execute("SELECT pg_advisory_unlock_all()")
                async with mirror.following():
                    world.rows("SELECT register_project('late', 'git@github.com:o/late.git')")
                    await mirror.assert_same()
