"""Which events a change of a worktree makes, and what they say; and that no column of any table is forgotten."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


WORKTREE_COLUMNS = [
    ("UPDATE worktrees SET name = 'renamed'", "updated", {"name"}),
    ("UPDATE worktrees SET branch_name = 'feat/other'", "updated", {"branch_name"}),
    ("UPDATE worktrees SET path = '/elsewhere'", "updated", {"path"}),
    ("UPDATE worktrees SET type_id = 2", "updated", {"type_id"}),
    ("""UPDATE worktrees SET metadata = '{"a": 1}'""", "updated", {"metadata"}),
    ("UPDATE worktrees SET created_at = created_at - interval '1 day'", "updated", {"created_at"}),
    ("UPDATE worktrees SET agent_id = 'agent-1'", "claimed", {"agent_id"}),
    (
        "UPDATE worktrees SET has_uncommitted_changes = true",
        "git_state_updated",
        {"has_uncommitted_changes", "uncommitted_files_count"},
    ),
    ("UPDATE worktrees SET ahead_of_trunk = 2", "git_state_updated", {"ahead_of_trunk"}),
    ("UPDATE worktrees SET behind_trunk = 2", "git_state_updated", {"behind_trunk"}),
    ("UPDATE worktrees SET last_commit_hash = 'abc'", "git_state_updated", {"last_commit_hash"}),
    ("UPDATE worktrees SET last_commit_message = 'words'", "git_state_updated", {"last_commit_message"}),
    (
        "UPDATE worktrees SET ahead_of_trunk = 2, last_sync_at = now()",
        "git_state_updated",
        {"ahead_of_trunk", "last_sync_at"},
    ),
    ("UPDATE worktrees SET merged_at = now(), active = false", "merged", {"merged_at", "active"}),
    ("UPDATE worktrees SET active = false", "removed", {"active"}),
    ("UPDATE worktrees SET merged_by = 'somebody'", "updated", {"merged_by"}),
    ("UPDATE worktrees SET agent_id = 'agent-1', last_sync_at = now()", "claimed", {"agent_id", "last_sync_at"}),
]


@pytest.mark.parametrize(("statement", "action", "columns"), WORKTREE_COLUMNS)
def test_each_column_of_a_worktree_is_reported_by_its_most_specific_event(
    conn: Conn, outbox: OutboxReader, worktree: UUID, statement: str, action: str, columns: set[str]
) -> None:
    conn.execute(statement.encode())
    event = outbox.one()
    assert event.name == f"worktree.{action}"
    assert event.changed.keys() == columns | {"updated_at"}
    assert event.entity_id == worktree


@pytest.mark.parametrize(
    ("table", "told", "ruled"),
    [
        ("projects", "SELECT outbox_project_changes(NULL, p) FROM projects p", {"id", "updated_at", "active"}),
        (
            "worktrees",
            "SELECT outbox_worktree_changes(NULL, w) || outbox_worktree_git_changes(NULL, w)"
            " || outbox_worktree_merge_changes(NULL, w) FROM worktrees w",
            {"id", "updated_at", "last_sync_at", "agent_id", "active"},
        ),
        (
            "worktree_types",
            "SELECT outbox_worktree_type_changes(NULL, t) FROM worktree_types t WHERE name = 'feat'",
            {"id"},
        ),
    ],
)
def test_no_column_of_a_table_is_forgotten(conn: Conn, worktree: UUID, table: str, told: str, ruled: set[str]) -> None:
    conn.execute("UPDATE projects SET description = 'words'")
    conn.execute(
        "UPDATE worktrees SET merged_at = now(), merged_by = 'm', merge_commit_hash = 'h', active = false,"
        " last_commit_hash = 'h', last_commit_message = 'm'"
    )
    row = conn.execute(told.encode()).fetchone()
    columns = conn.execute(
        "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (table,)
    ).fetchone()
    assert row is not None
    assert columns is not None
    assert row[0].keys() | ruled == set(columns[0])
    assert not row[0].keys() & ruled


def test_a_worktree_event_carries_the_row_and_the_joined_names(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute(
        "SELECT update_worktree_git_state(%s, p_uncommitted_count := 3, p_ahead := 2, p_behind := 1,"
        " p_last_commit_hash := 'abc', p_last_commit_message := 'fix')",
        (worktree,),
    )
    event = outbox.one()
    assert event.name == "worktree.git_state_updated"
    assert event.project_id == project
    expected = {
        "worktree_id": str(worktree),
        "project_id": str(project),
        "project_name": "alpha",
        "remote_origin": "git@github.com:owner/alpha.git",
        "type_id": 1,
        "type": "feat",
        "name": "one",
        "branch_name": "feat/one",
        "path": f"/code/{project}/one",
        "agent_id": None,
        "has_uncommitted_changes": True,
        "uncommitted_files_count": 3,
        "ahead_of_trunk": 2,
        "behind_trunk": 1,
        "status": "uncommitted",
        "last_commit_hash": "abc",
        "last_commit_message": "fix",
        "merged_at": None,
        "merged_by": None,
        "merge_commit_hash": None,
        "metadata": {},
        "active": True,
    }
    assert {key: event.data[key] for key in expected} == expected
    assert event.data.keys() - expected.keys() == {"last_sync_at", "created_at", "updated_at", "changed"}
    assert event.changed | {"updated_at": None} == {
        "has_uncommitted_changes": False,
        "uncommitted_files_count": 0,
        "ahead_of_trunk": 0,
        "behind_trunk": 0,
        "last_commit_hash": None,
        "last_commit_message": None,
        "last_sync_at": None,
        "updated_at": None,
    }


def test_claim_handover_and_release(conn: Conn, outbox: OutboxReader, worktree: UUID) -> None:
    seen = []
    for agent in ("a", "b", None):
        conn.execute("UPDATE worktrees SET agent_id = %s", (agent,))
        event = outbox.one()
        seen.append((event.action, event.changed["agent_id"], event.data["agent_id"]))
    assert seen == [("claimed", None, "a"), ("claimed", "a", "b"), ("released", "b", None)]


def test_a_merge_is_one_event_and_taking_the_worktree_up_again_another(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute("SELECT mark_worktree_merged(%s, 'agent-1', 'abc')", (worktree,))
    event = outbox.one()
    assert event.name == "worktree.merged"
    assert event.changed.keys() == {"merged_at", "merged_by", "merge_commit_hash", "active", "updated_at"}
    add_worktree(conn, project)
    event = outbox.one()
    assert event.name == "worktree.reactivated"
    assert event.changed.keys() == {"merged_at", "merged_by", "merge_commit_hash", "active", "updated_at"}
    assert event.changed["merged_by"] == "agent-1"


def test_one_statement_that_changes_every_aspect_tells_each_once(
    conn: Conn, outbox: OutboxReader, worktree: UUID
) -> None:
    conn.execute(
        "UPDATE worktrees SET branch_name = 'b', agent_id = 'a', ahead_of_trunk = 1, last_sync_at = now(),"
        " merged_at = now(), merged_by = 'm', active = false"
    )
    events = outbox.new()
    assert [(event.action, set(event.changed)) for event in events] == [
        ("updated", {"branch_name", "updated_at"}),
        ("claimed", {"agent_id"}),
        ("git_state_updated", {"ahead_of_trunk", "last_sync_at"}),
        ("merged", {"merged_at", "merged_by", "active"}),
    ]
    rows = [{key: value for key, value in event.data.items() if key != "changed"} for event in events]
    assert all(row == rows[0] for row in rows), "each carries the row as it is after the statement"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE worktrees SET last_sync_at = now()",
        "UPDATE worktrees SET updated_at = now()",
        "UPDATE worktrees SET name = name, metadata = metadata",
        "UPDATE worktrees SET ahead_of_trunk = 5 WHERE false",
        "UPDATE projects SET name = name",
        "UPDATE worktree_types SET color = color",
        "SELECT update_worktree_git_state(id, false, 0, 0, 0) FROM worktrees",
        "DELETE FROM worktrees WHERE false",
        "INSERT INTO projects (name, remote_origin, trunk_path) SELECT 'x', 'x', 'x' WHERE false",
    ],
)
def test_a_statement_that_finds_nothing_new_is_no_event(
    conn: Conn, outbox: OutboxReader, worktree: UUID, statement: str
) -> None:
    conn.execute(statement.encode())
    assert outbox.names() == []


def test_a_worktree_moved_to_another_project_is_reported_under_the_new_one(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    other = add_project(conn, "beta")
    outbox.new()
    conn.execute("UPDATE worktrees SET project_id = %s", (other,))
    event = outbox.one()
    assert (event.name, event.project_id, event.data["project_name"]) == ("worktree.updated", other, "beta")
    assert event.changed["project_id"] == str(project)
