"""Which events a change of a project, a type or an activity makes, and what they say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.outbox_reader import OutboxReader, add_project, add_worktree

Conn = psycopg.Connection[Any]


def test_a_registered_project_is_reported_with_its_whole_row(conn: Conn, outbox: OutboxReader) -> None:
    project_id = add_project(conn, "beta")
    event = outbox.one()
    row = conn.execute(
        "SELECT set_config('timezone', 'UTC', true), to_jsonb(p) FROM projects p WHERE id = %s", (project_id,)
    ).fetchone()
    assert row is not None
    assert event.name == "project.registered"
    assert (event.project_id, event.entity_id) == (project_id, project_id)
    own = {key: value for key, value in row[1].items() if key != "id"}
    times = {"created_at", "updated_at"}
    assert {key: event.data[key] for key in own if key not in times} == {
        key: value for key, value in own.items() if key not in times
    }
    assert event.data["project_id"] == str(project_id)
    assert event.data["project_name"] == "beta"
    assert event.changed == {}


@pytest.mark.parametrize(
    ("statement", "column", "before"),
    [
        ("UPDATE projects SET name = 'renamed'", "name", "alpha"),
        (
            "UPDATE projects SET remote_origin = 'git@github.com:owner/other.git'",
            "remote_origin",
            "git@github.com:owner/alpha.git",
        ),
        ("UPDATE projects SET default_branch = 'trunk'", "default_branch", "main"),
        ("UPDATE projects SET trunk_path = '/b'", "trunk_path", "/a"),
        ("UPDATE projects SET description = 'words'", "description", None),
        ("""UPDATE projects SET metadata = '{"a": [1, null]}'""", "metadata", {}),
        ("UPDATE projects SET created_at = '2020-01-01Z'", "created_at", "2019-01-01T00:00:00+00:00"),
    ],
)
def test_each_column_of_a_project_is_reported_by_updated(
    conn: Conn, outbox: OutboxReader, project: UUID, statement: str, column: str, before: object
) -> None:
    conn.execute("UPDATE projects SET trunk_path = '/a', created_at = '2019-01-01Z'")
    outbox.new()
    conn.execute(statement.encode())
    event = outbox.one()
    assert event.name == "project.updated"
    assert event.changed.keys() == {column, "updated_at"}
    assert event.changed[column] == before
    assert event.data[column] != before


def test_a_project_is_deactivated_after_its_worktrees_and_reactivated(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute("SELECT deactivate_project(%s)", (project,))
    assert outbox.names() == ["worktree.removed", "project.deactivated"]
    add_project(conn)
    event = outbox.one()
    assert event.name == "project.reactivated"
    assert event.changed.keys() == {"active", "updated_at"}


def test_a_change_beside_reactivation_is_told_apart_from_it(conn: Conn, outbox: OutboxReader, project: UUID) -> None:
    conn.execute("UPDATE projects SET active = false, description = 'gone'")
    updated, deactivated = outbox.new()
    assert (updated.name, updated.changed.keys()) == ("project.updated", {"description", "updated_at"})
    assert (deactivated.name, deactivated.changed) == ("project.deactivated", {"active": True})
    conn.execute("UPDATE projects SET active = true, description = 'back'")
    reactivated, updated = outbox.new()
    assert (reactivated.name, reactivated.changed.keys()) == ("project.reactivated", {"active", "updated_at"})
    assert (updated.name, updated.changed) == ("project.updated", {"description": "gone"})


def test_registering_the_same_again_is_no_event(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    add_project(conn)
    add_worktree(conn, project)
    assert outbox.names() == []


def test_worktree_types_are_added_updated_and_removed(conn: Conn, outbox: OutboxReader) -> None:
    conn.execute("INSERT INTO worktree_types (name, branch_prefix, worktree_prefix) VALUES ('docs', 'docs/', 'docs-')")
    conn.execute("UPDATE worktree_types SET color = NULL, description = 'words' WHERE name = 'docs'")
    conn.execute("DELETE FROM worktree_types WHERE name = 'docs'")
    added, updated, removed = outbox.new()
    assert [event.name for event in (added, updated, removed)] == [
        "worktree_type.added",
        "worktree_type.updated",
        "worktree_type.removed",
    ]
    assert (added.data["name"], added.data["branch_prefix"], added.entity_id) == ("docs", "docs/", None)
    assert updated.changed == {"color": "#6B7280", "description": None}
    assert removed.data["type_id"] == added.data["type_id"]


def test_an_activity_is_logged_and_its_retention_is_no_event(
    conn: Conn, outbox: OutboxReader, project: UUID, worktree: UUID
) -> None:
    conn.execute("SELECT log_activity('agent-1', %s, 'modified', 'words', 'src/a.rs', %s)", (worktree, '{"lines": 3}'))
    event = outbox.one()
    assert (event.name, event.project_id) == ("activity.logged", project)
    expected = {
        "activity_id": str(event.entity_id),
        "agent_id": "agent-1",
        "worktree_id": str(worktree),
        "worktree_name": "one",
        "project_id": str(project),
        "project_name": "alpha",
        "activity_type": "modified",
        "file_path": "src/a.rs",
        "description": "words",
        "metadata": {"lines": 3},
    }
    assert {key: event.data[key] for key in expected} == expected
    conn.execute("INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
                 " VALUES ('a', %s, 'other', 'old', now() - interval '1 year')", (worktree,))  # fmt: skip
    assert outbox.names() == ["activity.logged"]
    assert conn.execute("SELECT cleanup_old_activities(90)").fetchone() == (1,)
    assert outbox.names() == []
