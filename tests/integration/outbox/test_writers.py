"""The outbox does not depend on who writes, or with which settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from publisher.embedded.postgres import postgres
from registry.database import migrate
from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]
TABLES = "projects, worktrees, worktree_types, agent_activities"


@pytest.fixture
def conn(database: str) -> Iterator[Conn]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def outbox(conn: Conn) -> OutboxReader:
    return OutboxReader(conn)


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


# --- rights -----------------------------------------------------------------------------------------------------


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


# --- settings of the session ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Pacific/Chatham'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "lc_monetary = 'C'",
        "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'",
        "row_security = off",
        "check_function_bodies = off",
        "enable_hashjoin = off",
        "plan_cache_mode = 'force_custom_plan'",
        "work_mem = '64kB'",
        "search_path = ''",
        "search_path = 'pg_temp'",
        "transform_null_equals = on",
        "array_nulls = off",
        "jit_above_cost = 0",
    ],
)
def test_settings_of_the_writer_do_not_change_the_data(database: str, setting: str) -> None:
    insert = (
        "INSERT INTO public.projects (name, remote_origin, trunk_path, description, metadata, created_at) VALUES"
        " ('a', 'git@github.com:owner/a.git', '/t', E'back\\\\slash', '{\"n\": 1.50}', '2020-02-03 04:05:06.789+00')"
    )
    update = "UPDATE public.projects SET description = NULL, created_at = '2021-01-01Z'"
    told = []
    for settings in ([], [f"SET {setting}"]):
        with (
            psycopg.connect(database, autocommit=True) as conn,
            psycopg.connect(database, autocommit=True) as observer,
        ):
            outbox = OutboxReader(observer)
            for statement in (*settings, insert, update):
                conn.execute(statement.encode())
            events = outbox.new()
            conn.execute("DELETE FROM public.projects")
        for event in events:
            for key in ("project_id", "updated_at"):
                event.data.pop(key)
            event.changed.pop("updated_at", None)
        told.append([(event.name, event.data) for event in events])
    assert told[0] == told[1]
    assert told[0][0][1]["created_at"] == "2020-02-03T04:05:06.789+00:00"


def test_text_and_json_arrive_as_they_are(conn: Conn, outbox: OutboxReader) -> None:
    metadata = {
        "": None,
        "ключ": "ñ🚀",
        "deep": [[{"a": "\\u0000 \\ \" ' ; --"}]],
        "n": 12345678901234567890,
        "e": "\u2028",
    }
    name = "a'\"\\;--\n\t\u200b🚀 e\u0301"
    conn.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path, metadata)"
        " VALUES (%s, 'git@github.com:owner/a.git', '/t', %s)",
        (name, json.dumps(metadata)),
    )
    event = outbox.one()
    assert (event.data["name"], event.data["metadata"]) == (name, metadata)


def test_metadata_of_a_mebibyte_is_reported_whole(conn: Conn, outbox: OutboxReader) -> None:
    worktree_id = add_worktree(conn, add_project(conn))
    outbox.new()
    big = {"blob": "x" * 2**20}
    conn.execute("UPDATE worktrees SET metadata = %s WHERE id = %s", (json.dumps(big), worktree_id))
    conn.execute("UPDATE worktrees SET metadata = '{}'")
    grown, emptied = outbox.new()
    assert (grown.data["metadata"], grown.changed["metadata"]) == (big, {})
    assert (emptied.data["metadata"], emptied.changed["metadata"]) == ({}, big)


def test_the_writer_names_actor_cause_and_trace(conn: Conn, outbox: OutboxReader) -> None:
    correlation, causation = uuid4(), uuid4()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with conn.transaction():
        conn.execute(
            "SELECT set_config('imi.actor', 'agent-1', true), set_config('imi.correlation_id', %s, true),"
            " set_config('imi.causation_id', %s, true), set_config('imi.traceparent', %s, true)",
            (str(correlation), str(causation), trace),
        )
        add_project(conn)
    event = outbox.one()
    assert (event.actor, event.correlation_id, event.causation_id, event.traceparent) == (
        "agent-1",
        correlation,
        causation,
        trace,
    )
    add_project(conn, "beta")
    event = outbox.one()
    assert (event.actor, event.correlation_id, event.causation_id, event.traceparent) == (None, None, None, None)


@pytest.mark.parametrize("setting", ["imi.correlation_id", "imi.causation_id"])
def test_an_id_that_is_none_is_refused_by_name(conn: Conn, outbox: OutboxReader, setting: str) -> None:
    conn.execute("SELECT set_config(%s, 'nonsense', false)", (setting,))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f'setting {setting}: "nonsense" is not a UUID'):
        add_project(conn)
    assert outbox.names() == []


def test_an_actor_that_no_envelope_has_room_for_is_refused(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("SELECT set_config('imi.actor', %s, false)", ("👩" * 200,))
    add_project(conn)
    assert outbox.one().actor == "👩" * 200
    conn.execute("SELECT set_config('imi.actor', %s, false)", ("x" * 201,))
    with pytest.raises(psycopg.errors.CheckViolation, match="outbox_actor_is_short"):
        add_project(conn, "beta")


@pytest.mark.parametrize(
    "trace",
    [
        "nonsense",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ],
)
def test_an_invalid_trace_is_left_out(conn: Conn, outbox: OutboxReader, trace: str) -> None:
    conn.execute("SELECT set_config('imi.traceparent', %s, false)", (trace,))
    add_project(conn)
    assert outbox.one().traceparent is None


@pytest.mark.superuser
def test_a_superuser_who_switches_triggers_off_makes_no_events(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("SET session_replication_role = replica")
    add_project(conn)
    conn.execute("RESET session_replication_role")
    assert outbox.names() == []
    add_project(conn, "beta")
    assert outbox.names() == ["project.registered"]


# --- transaction ids, prepared transactions -----------------------------------------------------------------------


def refuse_ids(conn: Conn) -> None:
    """The next outbox id cannot be allocated: what a statement did before it tried stays to be seen."""
    row = conn.execute("SELECT last_value FROM outbox_id_seq").fetchone()
    assert row is not None
    conn.execute(f"ALTER SEQUENCE outbox_id_seq MINVALUE 0 MAXVALUE {row[0]}".encode())


WRITES = [
    "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('x', 'git@github.com:owner/x.git', '/t')",
    "UPDATE projects SET name = 'y'",
    "DELETE FROM projects",
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path) SELECT id, 1, 'n', 'b', '/n' FROM projects",
    "UPDATE worktrees SET agent_id = 'a'",
    "DELETE FROM worktrees",
    "INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('t', 't/', 't-')",
    "UPDATE worktree_types SET color = '#ff0000'",
    "DELETE FROM worktree_types WHERE name = 'docs'",
    "SELECT log_activity('a', id, 'other', 'words') FROM worktrees",
    "TRUNCATE agent_activities",
    "TRUNCATE worktrees",
    "TRUNCATE projects CASCADE",
    "SELECT bare_insert()",
    "INSERT INTO outbox (entity, action, data) SELECT 'x', 'y', '{}' FROM generate_series(1, 3) n ORDER BY n DESC",
]


@pytest.mark.parametrize("statement", WRITES)
def test_a_transaction_has_its_id_before_it_allocates_an_outbox_id(
    conn: Conn, outbox: OutboxReader, statement: str
) -> None:
    add_worktree(conn, add_project(conn))
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('docs', 'd/', 'd-')")
    conn.execute(
        "CREATE FUNCTION bare_insert() RETURNS void LANGUAGE sql SECURITY DEFINER AS"
        " $$ INSERT INTO outbox (entity, action, data) VALUES ('x', 'y', '{}') $$"
    )
    refuse_ids(conn)
    with conn.transaction():
        conn.execute("SAVEPOINT before")
        assert conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)
        with pytest.raises(psycopg.errors.SequenceGeneratorLimitExceeded):
            conn.execute(statement.encode())
        conn.execute("ROLLBACK TO before")
        row = conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
    assert row is not None
    assert row[0] is not None, "the outbox id came first: the gap rule would take it for dead"


def test_the_transaction_id_of_an_event_is_that_of_the_whole_transaction(conn: Conn, outbox: OutboxReader) -> None:
    with conn.transaction():
        add_project(conn)
        with conn.transaction():
            add_project(conn, "beta")
            with conn.transaction():
                add_project(conn, "gamma")
        row = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    assert [event.transaction_id for event in outbox.new()] == [row[0]] * 3


def test_a_prepared_transaction_needs_the_doorbell_off_while_the_publisher_sleeps(state_dir: Path) -> None:
    with (
        postgres(state_dir, settings={"max_prepared_transactions": "2", "fsync": "off"}) as server,
        psycopg.connect(server.url, autocommit=True) as conn,
    ):
        migrate.apply(conn)
        outbox = OutboxReader(conn)
        conn.execute("SELECT setval('publisher_doorbell', 1)")
        conn.execute("BEGIN")
        add_project(conn)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            conn.execute("PREPARE TRANSACTION 'loud'")
        assert outbox.names() == []

        conn.execute("BEGIN")
        conn.execute("SET LOCAL imi.doorbell = off")
        add_project(conn)
        conn.execute("PREPARE TRANSACTION 'quiet'")
        assert outbox.names() == [], "not before it commits"
        conn.execute("COMMIT PREPARED 'quiet'")
        assert outbox.names() == ["project.registered"]


# --- the doorbell -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doorbell", "statement", "rings"),
    [
        (1, "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1", 1),
        (0, "UPDATE worktrees SET ahead_of_trunk = ahead_of_trunk + 1", 0),
        (1, "UPDATE worktrees SET last_sync_at = now()", 0),
        (1, "UPDATE worktrees SET agent_id = 'a' WHERE false", 0),
        (1, "TRUNCATE agent_activities", 1),
    ],
)
def test_the_doorbell_rings_once_for_a_transaction_with_events_while_the_publisher_sleeps(
    conn: Conn, database: str, doorbell: int, statement: str, rings: int
) -> None:
    add_worktree(conn, add_project(conn))
    conn.execute("SELECT setval('publisher_doorbell', %s)", (doorbell,))
    with psycopg.connect(database, autocommit=True) as publisher:
        publisher.execute("LISTEN imi_outbox")
        with conn.transaction():
            conn.execute(statement.encode())
            conn.execute(statement.encode())
        # Notifications arrive in the order of commits: the marker is the last of them.
        conn.execute("NOTIFY imi_outbox, 'marker'")
        heard = []
        for notice in publisher.notifies(timeout=10):
            if notice.payload == "marker":
                break
            heard.append(notice.payload)
        else:
            pytest.fail("the marker was never heard")
    assert len(heard) == rings
