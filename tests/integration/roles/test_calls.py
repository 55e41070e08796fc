"""Functions that everybody may call, in a database that closes them to everybody."""

from __future__ import annotations

import json

import psycopg

from publisher.doctor.accounts import account_findings
from registry.database import migrate
from registry.database.roles import ROLES
from registry.database.roles.state import OWNER
from tests.integration.roles.test_setup import execute, statements
from tests.support.commandline import CommandLine
from tests.support.databases import name_of, new_database, plain_role
from tests.support.roles.cluster import as_login, connect, create_roles, login, migrated


def test_functions_that_are_closed_to_everybody_are_open_to_the_roles_as_elsewhere(
    cluster: str, cli: CommandLine
) -> None:
    create_roles(cluster)
    with (
        plain_role(cluster) as owner,
        login(cluster, "imi_reader") as reader,
        migrated(cluster) as (elsewhere, _),
        new_database(cluster, owner) as as_owner,
    ):
        assert cli("roles", "setup", "--database-url", elsewhere).code == 0
        execute(as_owner, b"ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        with psycopg.connect(as_owner) as conn:
            migrate.apply(conn)
        (finding,) = account_findings(as_login(as_owner, reader))
        assert finding.text.startswith("role imi_reader lacks ")
        assert "EXECUTE ON" in finding.text
        shown = json.loads(cli("roles", "show", "--json", "--database-url", as_owner).out)
        assert all(role["missing"] for role in shown["roles"] if role["name"] != OWNER)

        assert cli("roles", "setup", "--database-url", as_owner).code == 0

        assert cli("roles", "setup", "--database-url", as_owner).out == "nothing to do\n"
        execute(as_owner, f'GRANT CONNECT ON DATABASE "{name_of(as_owner)}" TO "{reader.name}"'.encode())
        assert account_findings(as_login(as_owner, reader)) == []
        assert callable_by_role(as_owner) == callable_by_role(elsewhere)
        execute(as_login(as_owner, reader), b"SELECT * FROM search_registry('a')")


def test_functions_of_the_registry_are_opened_though_those_of_an_extension_are_another_owners(
    cluster: str, cli: CommandLine
) -> None:
    create_roles(cluster)
    with login(cluster, "imi_reader") as reader, migrated(cluster) as (as_owner, as_superuser):
        execute(as_superuser, b"REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA public FROM PUBLIC")

        left = cli("roles", "setup", "--database-url", as_owner)

        assert (left.code, len(statements(left.err))) == (1, 1)
        execute(as_superuser, statements(left.err)[0].encode())
        assert cli("roles", "setup", "--database-url", as_owner).out == "nothing to do\n"
        execute(as_superuser, f'GRANT CONNECT ON DATABASE "{name_of(as_owner)}" TO "{reader.name}"'.encode())
        execute(as_login(as_owner, reader), b"SELECT * FROM search_registry('a')")


def callable_by_role(url: str) -> set[tuple[str, str]]:
    """Each function with the roles that may call it."""
    with connect(url) as conn:
        return set(
            conn.execute(
                "SELECT r.name, p.oid::regprocedure::text FROM unnest(%s::text[]) AS r (name), pg_proc AS p"
                " WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege(r.name, p.oid, 'EXECUTE')",
                [[name for name in ROLES if name != OWNER]],
            ).fetchall()
        )
