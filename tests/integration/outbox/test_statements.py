"""Every kind of statement is seen, and each row it changes is told once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


def test_copy_is_seen(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    with conn.cursor().copy("COPY worktrees (project_id, type_id, name, branch_name, path) FROM STDIN") as copy:
        for number in range(5):
            copy.write_row((project, 1, f"w{number}", "b", f"/c/{number}"))
    events = outbox.new()
    assert [event.name for event in events] == ["worktree.created"] * 5
    assert [event.data["name"] for event in events] == [f"w{number}" for number in range(5)]


def test_on_conflict_do_update_tells_inserted_from_updated_rows(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute(
        "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " VALUES (%(p)s, 1, 'one', 'changed', '/c/1'), (%(p)s, 1, 'two', 'b', '/c/2')"
        " ON CONFLICT (project_id, name) DO UPDATE SET branch_name = excluded.branch_name",
        {"p": project},
    )
    assert sorted((event.name, event.data["name"]) for event in outbox.new()) == [
        ("worktree.created", "two"),
        ("worktree.updated", "one"),
    ]


def test_on_conflict_do_nothing_is_no_event(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    conn.execute(
        "INSERT INTO projects (name, remote_origin, trunk_path)"
        " VALUES ('a', 'git@github.com:owner/alpha.git', '/t') ON CONFLICT DO NOTHING"
    )
    assert outbox.names() == []


def test_merge_tells_inserts_updates_and_deletes(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    if conn.info.server_version < 150000:
        pytest.skip("MERGE is PostgreSQL 15's")
    for name in ("kept", "gone"):
        add_worktree(conn, project, name)
    outbox.new()
    conn.execute(
        "MERGE INTO worktrees w USING (VALUES ('kept'), ('gone'), ('new')) v (name) ON w.name = v.name"
        " WHEN MATCHED AND v.name = 'gone' THEN DELETE"
        " WHEN MATCHED THEN UPDATE SET branch_name = 'merged'"
        " WHEN NOT MATCHED THEN INSERT (project_id, type_id, name, branch_name, path)"
        " VALUES (%s, 1, v.name, 'b', '/c/new')",
        (project,),
    )
    assert sorted((event.name, event.data["name"]) for event in outbox.new()) == [
        ("worktree.created", "new"),
        ("worktree.deleted", "gone"),
        ("worktree.updated", "kept"),
    ]


def test_the_cascade_of_a_deleted_project_tells_each_worktree_once_with_its_names(
    conn: Conn, outbox: OutboxReader
) -> None:
    for name in ("a", "b", "c"):
        project_id = add_project(conn, name)
        for number in range(3):
            worktree_id = add_worktree(conn, project_id, f"{name}{number}")
            conn.execute("SELECT log_activity('agent-1', %s, 'other', 'words')", (worktree_id,))
    outbox.new()
    conn.execute("DELETE FROM projects WHERE name IN ('a', 'b')")
    events = outbox.new()
    assert [event.entity for event in events] == ["project"] * 2 + ["worktree"] * 6
    assert sorted((event.name, event.data["project_name"], event.data["name"]) for event in events) == [
        ("project.deleted", "a", "a"),
        ("project.deleted", "b", "b"),
        *(("worktree.deleted", name, f"{name}{number}") for name in ("a", "b") for number in range(3)),
    ]
    assert all(event.data["remote_origin"] for event in events)
    assert all(event.data["type"] == "feat" for event in events if event.entity == "worktree")


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("TRUNCATE projects CASCADE", {"projects", "worktrees", "agent_activities"}),
        ("TRUNCATE worktrees", {"worktrees", "agent_activities"}),
        ("TRUNCATE projects, worktrees, agent_activities", {"projects", "worktrees", "agent_activities"}),
        ("TRUNCATE projects RESTART IDENTITY CASCADE", {"projects", "worktrees", "agent_activities"}),
        ("TRUNCATE agent_activities", {"agent_activities"}),
    ],
)
def test_truncate_tells_each_table_once_and_spares_the_outbox(
    conn: Conn, outbox: OutboxReader, worktree: UUID, statement: str, tables: set[str]
) -> None:
    conn.execute("SELECT log_activity('agent-1', %s, 'other', 'words')", (worktree,))
    outbox.new()
    conn.execute(statement.encode())
    events = outbox.new()
    assert [event.name for event in events] == ["registry.truncated"] * len(tables)
    assert {event.data["table"] for event in events} == tables
    kept = conn.execute("SELECT count(*) FROM outbox WHERE entity = 'project'").fetchone()
    assert kept == (1,)


def test_built_in_types_that_come_back_after_a_truncate_are_told_after_it(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("TRUNCATE worktree_types CASCADE")
    events = outbox.new()
    added = [event.data["name"] for event in events if event.name == "worktree_type.added"]
    assert added == ["feat", "fix", "aiops", "devops", "review", "trunk"]
    last = max(event.id for event in events if event.data.get("table") == "worktree_types")
    assert all(event.id > last for event in events if event.name == "worktree_type.added")


def test_writable_ctes_tell_each_row_once(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    one, two = add_worktree(conn, project, "one"), add_worktree(conn, project, "two")
    outbox.new()
    conn.execute(
        "WITH a AS (UPDATE worktrees SET branch_name = 'x' WHERE id = %s RETURNING id),"
        " b AS (INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
        " VALUES (%s, 1, 'three', 'b', '/c/3') RETURNING id)"
        " UPDATE worktrees SET agent_id = 'a' WHERE id = %s",
        (one, project, two),
    )
    assert sorted((event.action, event.data["name"]) for event in outbox.new()) == [
        ("claimed", "two"),
        ("created", "three"),
        ("updated", "one"),
    ]


def test_a_row_updated_twice_by_one_statement_tells_the_one_change_postgresql_makes(
    conn: Conn, outbox: OutboxReader, worktree: UUID
) -> None:
    conn.execute(
        "WITH a AS (UPDATE worktrees SET branch_name = 'x', ahead_of_trunk = 1 RETURNING id)"
        " UPDATE worktrees SET agent_id = 'a', ahead_of_trunk = 2"
    )
    row = conn.execute("SELECT branch_name, agent_id, ahead_of_trunk FROM worktrees").fetchone()
    events = outbox.new()
    changed = [key for event in events for key in event.changed if key != "updated_at"]
    assert sorted(changed) == (
        ["ahead_of_trunk", "branch_name"] if row == ("x", None, 1) else ["agent_id", "ahead_of_trunk"]
    )
    assert all(event.data["ahead_of_trunk"] == (row or ())[2] for event in events)


def test_a_statement_whose_trigger_touches_the_row_again_tells_both_changes_in_order(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute(
        "WITH p AS (UPDATE projects SET active = false RETURNING id)"
        " UPDATE worktrees w SET agent_id = 'a' FROM p WHERE w.project_id = p.id"
    )
    events = outbox.new()
    assert {event.name for event in events} == {"worktree.claimed", "worktree.removed", "project.deactivated"}
    assert len(events) == 3
    row = conn.execute("SELECT active, agent_id FROM worktrees").fetchone()
    assert row == (False, "a")


def test_a_worktree_that_changes_in_the_statement_that_deletes_its_project_is_told_without_its_names(
    conn: Conn, outbox: OutboxReader, worktree: UUID
) -> None:
    conn.execute(
        "WITH gone AS (DELETE FROM projects RETURNING id)"
        " UPDATE worktrees w SET ahead_of_trunk = 1 FROM gone WHERE w.project_id = gone.id"
    )
    changed, *deleted = outbox.new()
    assert (changed.name, changed.entity_id, changed.data["project_name"]) == (
        "worktree.git_state_updated",
        worktree,
        None,
    )
    assert [(event.name, event.data["project_name"]) for event in deleted] == [
        ("project.deleted", "alpha"),
        ("worktree.deleted", "alpha"),
    ]


def test_events_of_one_transaction_are_in_the_order_of_its_statements(
    conn: Conn, outbox: OutboxReader, worktree: UUID
) -> None:
    with conn.transaction():
        for number in range(1, 6):
            conn.execute("UPDATE worktrees SET ahead_of_trunk = %s", (number,))
    events = outbox.new()
    assert [event.data["ahead_of_trunk"] for event in events] == [1, 2, 3, 4, 5]
    assert [event.changed["ahead_of_trunk"] for event in events] == [0, 1, 2, 3, 4]
    assert len({event.transaction_id for event in events}) == 1


def test_a_rolled_back_savepoint_leaves_no_event(conn: Conn, outbox: OutboxReader, worktree: UUID) -> None:
    with conn.transaction():
        conn.execute("UPDATE worktrees SET ahead_of_trunk = 1")
        with conn.transaction() as savepoint:
            conn.execute("UPDATE worktrees SET ahead_of_trunk = 2")
            raise psycopg.Rollback(savepoint)
        conn.execute("UPDATE worktrees SET ahead_of_trunk = 3")
    events = outbox.new()
    assert [event.data["ahead_of_trunk"] for event in events] == [1, 3]
    assert len({event.transaction_id for event in events}) == 1


@pytest.mark.parametrize(
    "statement", ["UPDATE projects SET id = gen_random_uuid()", "UPDATE worktrees SET id = gen_random_uuid()"]
)
def test_the_id_of_a_row_cannot_change(conn: Conn, outbox: OutboxReader, worktree: UUID, statement: str) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="primary key is immutable"):
        conn.execute(statement.encode())
    assert outbox.names() == []


def test_the_outbox_cannot_be_rewritten(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    for statement in ("UPDATE outbox SET data = '{}'", "TRUNCATE outbox", "UPDATE outbox SET actor = 'x' WHERE false"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="append-only"):
            conn.execute(statement.encode())
    assert conn.execute("DELETE FROM outbox").rowcount == 1
