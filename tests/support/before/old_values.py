"""Values that the tables refuse today, in rows that are older than the rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

TIMES = {
    "infinity": "infinity",
    "minus infinity": "-infinity",
    "before the year 1": "0044-03-15 12:00:00+00 BC",
    "behind the year 9999": "10001-01-01 00:00:00+00",
}
NUMBERS = {"1e5000": "1e5000", "-1e400": "-1e400", "5,000 digits": "7" * 5000}
VALUES = TIMES | NUMBERS

TABLES = ("projects", "worktrees", "worktree_types", "agent_activities", "deleted_worktrees")


class Old(NamedTuple):
    """Where the value is."""

    project: str
    worktree: str
    activity: str


def store(conn: psycopg.Connection[Any], value: str) -> Old:
    """Put a value of `VALUES` into each column of each table that can have it, past the rules, and its events."""
    for table in TABLES:
        conn.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_times_check".encode())
        if table != "deleted_worktrees":
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_metadata".encode())
    (project,) = _one(conn, "SELECT register_project('old', 'git@github.com:a/old.git')::text")
    (worktree,) = _one(conn, "SELECT register_worktree(%s, 'feat', 'w', 'b', '/old/w')::text", project)
    _one(conn, "SELECT register_worktree(%s, 'feat', 'gone', 'b', '/old/gone')::text", project)
    _one(conn, "SELECT add_worktree_type('old')")
    if value in TIMES.values():
        conn.execute("UPDATE projects SET description = 'd', created_at = %s, updated_at = %s", [value, value])
        conn.execute(
            "UPDATE worktrees SET ahead_of_trunk = 1, created_at = %s, updated_at = %s, last_sync_at = %s,"
            " active = false, merged_at = %s, merged_by = 'ada', merge_commit_hash = 'abc' WHERE name = 'gone'",
            [value] * 4,
        )
        conn.execute("UPDATE worktrees SET ahead_of_trunk = 1, created_at = %s, last_sync_at = %s", [value, value])
        conn.execute("UPDATE worktree_types SET created_at = %s", [value])
        (activity,) = _one(
            conn,
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
            " VALUES ('ada', %s, 'other', 'd', %s) RETURNING id::text",
            worktree,
            value,
        )
    else:
        metadata = f'{{"n": {value}}}'
        for table in ("projects", "worktrees", "worktree_types"):
            conn.execute(f"UPDATE {table} SET metadata = %s".encode(), [metadata])  # noqa: S608  # from the list above
        conn.execute("UPDATE worktrees SET ahead_of_trunk = 1")
        (activity,) = _one(
            conn,
            "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, metadata)"
            " VALUES ('ada', %s, 'other', 'd', %s) RETURNING id::text",
            worktree,
            metadata,
        )
    conn.execute("DELETE FROM worktrees WHERE name = 'gone'")
    return Old(project, worktree, activity)


def _one(conn: psycopg.Connection[Any], query: str, *values: str) -> tuple[Any, ...]:
    return conn.execute(query.encode(), values).fetchone() or ("",)
