"""The tables of docs/security.md are what PostgreSQL answers when it is tried, by the oldest and the newest one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.roles import matrix

FUNCTIONS_OF_THE_OWNER = """
SELECT p.proname::text
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND p.prorettype <> 'trigger'::regtype
"""


@pytest.fixture(scope="module", params=["18", "14"])
def registry(request: pytest.FixtureRequest) -> Iterator[matrix.Conn]:
    binaries: Path | None = binaries_of_14() if request.param == "14" else None
    with matrix.registry(binaries) as conn:
        assert conn.info.server_version // 10_000 == int(request.param)
        yield conn


@pytest.fixture(scope="module")
def rights(registry: matrix.Conn) -> dict[str, dict[str, str]]:
    return matrix.rights(registry)


def test_the_page_has_what_each_role_may_do_with_tables(rights: dict[str, dict[str, str]]) -> None:
    assert matrix.table_of(rights) == matrix.in_page("tables"), "run: python -m tests.support.roles.matrix"


def test_the_page_has_the_functions_that_each_role_may_call(registry: matrix.Conn) -> None:
    with registry.transaction(force_rollback=True):
        calls = matrix.calls(registry)
    assert matrix.table_of(calls) == matrix.in_page("functions"), "run: python -m tests.support.roles.matrix"


@pytest.mark.parametrize("table", ["outbox", "command_ledger", "publisher_cursor", "agent_activities"])
def test_nobody_but_the_owner_changes_or_removes_what_must_stay(rights: dict[str, dict[str, str]], table: str) -> None:
    changing = {"UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "SWITCH OFF"}
    found = {role: changing & set(works.split(", ")) for role, works in rights[table].items()}
    allowed = {"imi_publisher": {"UPDATE"}} if table == "publisher_cursor" else {}
    assert {role: works for role, works in found.items() if works} == allowed


def test_nobody_inserts_an_event(rights: dict[str, dict[str, str]]) -> None:
    assert not any("INSERT" in works for works in rights["outbox"].values())


def test_functions_with_the_owners_rights_find_nothing_of_others(registry: matrix.Conn) -> None:
    found = registry.execute(
        "SELECT proname, array_to_string(proconfig, ' ') FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    ).fetchall()
    assert len(found) > 20
    assert [name for name, settings in found if "search_path=pg_catalog, pg_temp" not in (settings or "")] == []
    page = matrix.PAGE.read_text()
    for (name,) in registry.execute(FUNCTIONS_OF_THE_OWNER).fetchall():
        assert f"`{name}`" in page, "functions with the rights of the owner are named"


@pytest.mark.parametrize(
    "attack",
    [
        "INSERT INTO outbox (entity, action, data) VALUES ('project', 'registered', '{}')",
        "COPY outbox (entity, action, data) FROM '/etc/hostname'",
        "UPDATE outbox SET data = '{}'",
        "DELETE FROM outbox",
        "TRUNCATE outbox",
        "ALTER TABLE projects DISABLE TRIGGER ALL",
        "DROP TRIGGER projects_outbox_insert ON projects",
        "CREATE RULE quiet AS ON INSERT TO outbox DO INSTEAD NOTHING",
        "ALTER TABLE outbox ENABLE ROW LEVEL SECURITY",
        "SET session_replication_role = replica",
        "SET ROLE imi_owner",
        "CREATE OR REPLACE FUNCTION outbox_ring() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER FUNCTION outbox_project_inserted() SET search_path = public",
        "SELECT outbox_project_inserted()",
        "COPY projects TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/imi-stolen'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_reload_conf()",
        "ALTER SYSTEM SET archive_command = 'true'",
        "CREATE EXTENSION dblink",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION outbox_refuse_rewrite()",
        "SELECT grant_role_rights()",
        "GRANT imi_owner TO imi_reader",
        "DELETE FROM command_ledger",
        "UPDATE agent_activities SET description = 'nothing'",
    ],
)
def test_an_attack_is_refused_to_each_role_and_to_a_stranger(registry: matrix.Conn, attack: str) -> None:
    for role in [*matrix.ROLES, matrix.NOBODY]:
        registry.execute(f"SET SESSION AUTHORIZATION {role}".encode())
        try:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                registry.execute(attack.encode())
        finally:
            registry.execute("RESET SESSION AUTHORIZATION")


@pytest.mark.parametrize("role", ["imi_writer", "imi_applier"])
def test_an_activity_is_removed_by_retention_alone(registry: matrix.Conn, role: str) -> None:
    """The setting that lets the owner's retention pass helps nobody who has no right on the rows."""
    with registry.transaction(force_rollback=True):
        registry.execute(f"SET LOCAL ROLE {role}".encode())
        registry.execute("SET LOCAL imi.activity_retention = on")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), registry.transaction():
            registry.execute("DELETE FROM agent_activities")
