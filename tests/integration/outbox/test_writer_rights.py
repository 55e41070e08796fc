"""The outbox does not depend on who writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.support.outbox_reader import OutboxReader, add_project

Conn = psycopg.Connection[Any]

TABLES = "projects, worktrees, worktree_types, agent_activities"


@pytest.fixture
def writer(conn: Conn) -> Iterator[str]:
    """A role that may write the registry's tables and nothing else."""
    role = f"writer_{uuid4().hex[:8]}"
    conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    conn.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {} TO {}").format(
            sql.SQL(TABLES), sql.Identifier(role)
        )
    )
    conn.execute(sql.SQL("GRANT USAGE ON SEQUENCE worktree_types_id_seq TO {}").format(sql.Identifier(role)))
    yield role
    conn.execute("RESET ROLE")
    conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def become(conn: Conn, role: str) -> None:
    conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


@pytest.mark.superuser
def test_a_writer_with_table_rights_only_makes_events_and_rings(conn: Conn, outbox: OutboxReader, writer: str) -> None:
    conn.execute("LISTEN imi_outbox")
    conn.execute("SELECT setval('publisher_doorbell', 1)")
    become(conn, writer)
    for statement in (
        "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('a', 'git@github.com:owner/a.git', '/t')",
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " SELECT id, 1, 'w', 'b', '/w' FROM projects",
        "UPDATE worktrees SET agent_id = 'a'",
        "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description)"
        " SELECT 'a', id, 'other', 'words' FROM worktrees",
    ):
        conn.execute(statement.encode())
    conn.execute("DELETE FROM projects")
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't/', 't-')")
    conn.execute("TRUNCATE projects CASCADE")
    for statement in ("SELECT FROM outbox", "INSERT INTO outbox (entity, action, data) VALUES ('a', 'b', '{}')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement.encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("SELECT setval('publisher_doorbell', 0)")
    conn.execute("RESET ROLE")
    names = outbox.names()
    assert names[:4] == ["project.registered", "worktree.created", "worktree.claimed", "activity.logged"]
    assert sorted(names[4:6]) == ["project.deleted", "worktree.deleted"]
    assert names[6:] == ["worktree_type.added"] + ["registry.truncated"] * 3
    assert list(conn.notifies(timeout=0)), "the doorbell rang"


@pytest.mark.superuser
def test_nobody_can_forge_an_event_with_a_trigger_of_his_own(conn: Conn, writer: str) -> None:
    conn.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(writer)))
    become(conn, writer)
    conn.execute("CREATE TABLE forged ()")
    functions = conn.execute(
        "SELECT oid::regproc::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND proname LIKE 'outbox%' AND prorettype = 'trigger'::regtype AND prosecdef"
    ).fetchall()
    assert len(functions) >= 12
    for (function,) in functions:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(
                sql.SQL("CREATE TRIGGER forge AFTER TRUNCATE ON forged EXECUTE FUNCTION {}()").format(
                    sql.Identifier(function)
                )
            )


@pytest.mark.superuser
def test_functions_that_match_better_in_public_are_never_called(conn: Conn, outbox: OutboxReader, writer: str) -> None:
    conn.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(writer)))
    become(conn, writer)
    body = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$"
    for signature in (
        "jsonb_build_object(text, uuid) RETURNS jsonb",
        "jsonb_build_object(text, text) RETURNS jsonb",
        "jsonb_build_object(text, timestamptz) RETURNS jsonb",
        "jsonb_build_object(text, name) RETURNS jsonb",
        "pg_notify(unknown_channel varchar, payload varchar) RETURNS void",
    ):
        conn.execute(f"CREATE FUNCTION public.{signature} {body}".encode())
    conn.execute(f"CREATE FUNCTION public.differs(text, text) RETURNS boolean {body}".encode())
    conn.execute("CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.differs)")
    conn.execute("CREATE TEMP TABLE outbox (entity text, action text, project_id uuid, entity_id uuid, data jsonb)")
    conn.execute("CREATE TEMP TABLE publisher_doorbell (last_value int)")
    conn.execute("SET search_path = pg_temp, public, pg_catalog")
    conn.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('a', 'git@github.com:owner/a.git', '/t')"
    )
    conn.execute("UPDATE projects SET active = false, description = 'd'")
    conn.execute("TRUNCATE projects CASCADE")
    conn.execute("RESET ROLE")
    conn.execute("RESET search_path")
    assert outbox.names()[:3] == ["project.registered", "project.updated", "project.deactivated"]


@pytest.mark.superuser
def test_a_superuser_who_switches_triggers_off_makes_no_events(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("SET session_replication_role = replica")
    add_project(conn)
    conn.execute("RESET session_replication_role")
    assert outbox.names() == []
    add_project(conn, "beta")
    assert outbox.names() == ["project.registered"]
