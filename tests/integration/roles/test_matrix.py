"""The tables of docs/security.md are what PostgreSQL answers when it is tried, by the oldest and the newest one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from registry.database import months
from registry.database.roles.state import OWNER
from tests.integration.schema.test_rights import populate
from tests.support.postgres.postgres14 import binaries_of_14
from tests.support.roles import matrix
from tests.support.roles.owner_calls import MOVED
from tests.support.roles.trial import acting_as, works

FUNCTIONS_OF_THE_OWNER = """
SELECT p.proname::text
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND p.prorettype <> 'trigger'::regtype
"""


CALLABLE = """
SELECT p.oid::regprocedure::text, r.name, has_function_privilege(r.name, p.oid, 'EXECUTE')
FROM pg_proc AS p
CROSS JOIN unnest(%s::text[]) AS r (name)
WHERE p.pronamespace = 'public'::regnamespace
"""
GIVEN = """
SELECT c.relname::text, r.name
FROM pg_class AS c
CROSS JOIN unnest(%s::text[]) AS r (name)
WHERE c.relnamespace = 'public'::regnamespace
    AND c.relname ~ '^agent_activities_'
    AND c.relkind IN ('r', 'p')
    AND (
        has_table_privilege(r.name, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        OR has_any_column_privilege(r.name, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
    )
"""
"""Who may do anything with what the log of activities is made of."""


class Shape(NamedTuple):
    """What each role may do with tables, and which functions it may call."""

    tables: dict[str, dict[str, str]]
    functions: dict[tuple[str, str], bool]


@pytest.fixture(scope="module", params=["18", "14"])
def registry(request: pytest.FixtureRequest) -> Iterator[matrix.Conn]:
    binaries: Path | None = binaries_of_14() if request.param == "14" else None
    with matrix.registry(binaries) as conn:
        assert conn.info.server_version // 10_000 == int(request.param)
        yield conn


@pytest.fixture(scope="module")
def shapes(registry: matrix.Conn) -> list[Shape]:
    """Of a registry with its log in one table, by month, and in one table again."""
    found = [shape_of(registry)]
    for by_month in (True, False):
        months.move(registry, by_month=by_month)
        found.append(shape_of(registry))
    return found


@pytest.fixture(scope="module")
def rights(shapes: list[Shape]) -> dict[str, dict[str, str]]:
    return shapes[1].tables


def shape_of(conn: matrix.Conn) -> Shape:
    called = conn.execute(CALLABLE, [matrix.EVERYBODY]).fetchall()
    return Shape(matrix.tables(conn), {(name, role): may for name, role, may in called})


def test_the_page_has_what_each_role_may_do_with_tables(rights: dict[str, dict[str, str]]) -> None:
    assert matrix.table_of(rights) == matrix.in_page("tables"), "run: python -m tests.support.roles.matrix"


def test_the_page_has_the_functions_that_each_role_may_call(registry: matrix.Conn) -> None:
    assert matrix.table_of(matrix.calls(registry)) == matrix.in_page("functions"), (
        "run: python -m tests.support.roles.matrix"
    )


def test_a_log_by_month_changes_no_right_and_a_month_gives_none_but_to_the_owner(shapes: list[Shape]) -> None:
    one_table, by_month, again = shapes
    assert one_table == again
    assert one_table.functions == by_month.functions
    parts = by_month.tables.keys() - one_table.tables.keys()
    assert parts == {"agent_activities_other", "agent_activities_y…m…"}
    assert {name: by_month.tables[name] for name in one_table.tables} == one_table.tables
    for part in parts:
        reached = by_month.tables[part]
        assert {role for role, works in reached.items() if works} == {OWNER}
        assert set(reached[OWNER].split(", ")) < set(by_month.tables["agent_activities"][OWNER].split(", "))


def test_while_the_log_is_moved_nobody_reaches_its_copy_and_writers_go_on(registry: matrix.Conn) -> None:
    others = [*matrix.ROLES, matrix.NOBODY]
    with registry.transaction(force_rollback=True):
        ids = populate(registry)
        for step in MOVED[:2]:
            acting_as(registry, OWNER)
            registry.execute(step.encode())
        assert {role for _, role in registry.execute(GIVEN, [matrix.EVERYBODY]).fetchall()} == {OWNER}
        assert registry.execute(GIVEN, [others]).fetchall() == []
        assert works(registry, "imi_writer", matrix.FUNCTIONS["log_activity"], ids)


def test_what_is_neither_done_nor_refused_is_no_answer(registry: matrix.Conn) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        works(registry, "imi_writer", "INSERT INTO projects DEFAULT VALUES")
    assert not works(registry, "imi_reader", "INSERT INTO projects DEFAULT VALUES")


@pytest.mark.parametrize("table", ["outbox", "command_ledger", "publisher_cursor", "agent_activities"])
def test_nobody_but_the_owner_changes_or_removes_what_must_stay(rights: dict[str, dict[str, str]], table: str) -> None:
    changing = {"UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "SWITCH OFF"}
    found = {role: changing & set(works.split(", ")) for role, works in rights[table].items()}
    assert found.pop(OWNER) >= {"TRIGGER", "SWITCH OFF"}
    allowed = {"imi_publisher": {"UPDATE"}} if table == "publisher_cursor" else {}
    assert {role: works for role, works in found.items() if works} == allowed


def test_nobody_inserts_an_event(rights: dict[str, dict[str, str]]) -> None:
    assert {role for role, works in rights["outbox"].items() if "INSERT" in works} == {OWNER}


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
