"""`imi-registry roles grant` and `revoke`: nothing is told as done that was not, and what else somebody has stays."""

from __future__ import annotations

from typing import Any

import psycopg

from registry.database.roles import roles_of
from tests.support.commandline import CommandLine
from tests.support.databases import name_of, user_of
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated


def execute(url: str, statement: str) -> None:
    with connect(url) as conn:
        conn.execute(statement.encode())


def members(role: str, conn: psycopg.Connection[Any]) -> list[str]:
    (found,) = [one for one in roles_of(conn).roles if one.name == role]
    return found.members


def test_who_gives_the_role_and_not_the_right_to_connect_is_told_and_gives_neither(
    cluster: str, cli: CommandLine
) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as flume, connect(as_superuser) as admin:
        admin.execute(f'ALTER DATABASE "{name_of(as_owner)}" OWNER TO "{user_of(as_superuser)}"'.encode())
        admin.execute(f'GRANT imi_writer TO "{user_of(as_owner)}" WITH ADMIN OPTION'.encode())
        refused = cli("roles", "grant", "writer", flume.name, "--database-url", as_owner)
        assert refused.code == 1
        assert f"belongs to {user_of(as_superuser)}, who alone says which logins connect; an admin" in refused.err
        assert f'runs: GRANT CONNECT ON DATABASE "{name_of(as_owner)}" TO "{flume.name}"; GRANT' in refused.err
        assert flume.name not in members("imi_writer", admin)

        assert cli("roles", "grant", "writer", flume.name, "--database-url", as_superuser).code == 0
        refused = cli("roles", "revoke", "writer", flume.name, "--database-url", as_owner)
        assert refused.code == 1
        assert f'FROM "{flume.name}" GRANTED BY "{user_of(as_superuser)}"; REVOKE CONNECT' in refused.err
        assert flume.name in members("imi_writer", admin)
        assert cli("roles", "revoke", "writer", flume.name, "--database-url", as_superuser).code == 0


def test_a_role_is_taken_whoever_gave_it(cluster: str, cli: CommandLine) -> None:
    create_roles(cluster)
    with (
        migrated(cluster) as (as_owner, as_superuser),
        login(cluster) as giver,
        login(cluster) as flume,
        connect(as_superuser) as admin,
    ):
        admin.execute(f'GRANT imi_writer TO "{giver.name}" WITH ADMIN OPTION'.encode())
        for given_by in (as_login(as_owner, giver), as_superuser):
            execute(given_by, f'GRANT imi_writer TO "{flume.name}"')
        done = cli("roles", "revoke", "writer", flume.name, "--database-url", as_superuser)
        assert done.code == 0, done.err
        assert members("imi_writer", admin) == [giver.name]


def test_the_right_to_connect_stays_with_whoever_has_it_for_more_than_the_role(cluster: str, cli: CommandLine) -> None:
    create_roles(cluster)
    with migrated(cluster) as (as_owner, as_superuser), login(cluster) as old:
        execute(as_owner, f'GRANT SELECT ON projects TO "{old.name}"')
        assert cli("roles", "setup", "--database-url", as_owner).code == 0
        for name in (old.name, user_of(as_owner)):
            assert cli("roles", "grant", "writer", name, "--database-url", as_superuser).code == 0
            assert cli("roles", "revoke", "writer", name, "--database-url", as_superuser).code == 0
            refused = cli("roles", "revoke", "writer", name, "--database-url", as_superuser)
            assert (refused.code, refused.err) == (1, f"imi-registry: {name} is no member of imi_writer\n")
        execute(as_login(as_owner, old), "SELECT FROM projects")
        execute(as_owner, f'REVOKE ALL ON projects FROM "{old.name}"')
        execute(as_owner, f'REVOKE CONNECT ON DATABASE "{name_of(as_owner)}" FROM "{old.name}"')
