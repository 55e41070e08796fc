"""docs/security.md, Checklist: a stranger with all connections that he may have stops neither events nor commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from publisher.embedded.postgres import postgres
from tests.support.commands import envelope
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated, no_roles_afterwards
from tests.support.services import POSTGRES_SETTINGS, scratch_directory
from tests.support.world import World

SETTINGS = POSTGRES_SETTINGS | {"max_connections": "60", "reserved_connections": "40"}
RESERVE = "pg_use_reserved_connections"


@pytest.fixture(scope="module")
def small_server() -> Iterator[str]:
    """PostgreSQL as a superuser, with few connections, most of which are kept for who has the reserve."""
    with scratch_directory() as directory, postgres(directory, settings=SETTINGS) as server:
        create_roles(server.url)
        with no_roles_afterwards(server.url) as url:
            yield url


def taken(held: ExitStack, url: str) -> tuple[int, str]:
    """As many connections as this login gets: how many, and why it gets no more."""
    count = 0
    while True:
        try:
            held.enter_context(psycopg.connect(url))
        except psycopg.OperationalError as error:
            return count, str(error)
        count += 1


async def test_who_has_the_reserve_starts_and_works_while_a_stranger_has_all_other_connections(
    world: World, small_server: str
) -> None:
    with (
        migrated(small_server) as (as_owner, as_superuser),
        login(small_server, "imi_publisher", RESERVE) as publisher,
        login(small_server, "imi_applier", RESERVE) as applier,
        login(small_server, "imi_writer") as writer,
        login(small_server) as stranger,
        ExitStack() as held,
    ):
        there = world.at(database=as_superuser)
        relay = world.at(database=as_login(as_owner, publisher)).relay()
        commands = world.at(database=as_login(as_owner, applier)).applier()
        count, reason = taken(held, as_login(as_owner, stranger))
        assert count > 0
        assert RESERVE in reason
        assert taken(held, as_login(as_owner, writer))[0] == 0, "who has no reserve gets none, either"

        async with relay, commands:
            data = {"name": "p", "remote_origin": "git@github.com:o/p.git"}
            assert (await there.ask("project.register", envelope("project.register", data)))["verdict"] == "applied"
            await there.assert_exactly_once()
            users = {user for (user,) in there.rows("SELECT usename::text FROM pg_stat_activity WHERE usename <> ''")}
            assert {publisher.name, applier.name, stranger.name} <= users


def test_a_stranger_with_a_limit_of_connections_leaves_the_others_to_everybody(small_server: str) -> None:
    with (
        migrated(small_server) as (as_owner, as_superuser),
        login(small_server, "imi_writer") as writer,
        login(small_server) as stranger,
        ExitStack() as held,
    ):
        with connect(as_superuser) as admin:
            admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 5").format(sql.Identifier(stranger.name)))

        count, reason = taken(held, as_login(as_owner, stranger))

        assert count == 5
        assert "too many connections for role" in reason
        with connect(as_login(as_owner, writer)) as conn:
            conn.execute("SELECT register_project('p', 'git@github.com:o/p.git')")
