"""A registry with activities of many months."""

from __future__ import annotations

from typing import Any

import psycopg

WORKTREES = (
    "INSERT INTO projects (name, remote_origin, trunk_path) VALUES ('p', 'git@github.com:o/p.git', '/p')",
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path)"
    " SELECT p.id, 1, 'w' || n, 'b', '/p/' || n FROM projects p, generate_series(1, 5) n",
)
ACTIVITIES = (
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, file_path, metadata, created_at)"
    " SELECT 'a', w.id, 'other', 'words of ' || n, 'src/' || n || '.rs', jsonb_build_object('n', n),"
    " now() - random() * make_interval(days => %s)"
    " FROM generate_series(1, %s) n JOIN worktrees w ON w.name = 'w' || n %% 5 + 1"
)
LAST = "SELECT max(begins_at) FROM activity_months()"
DROP = "SELECT drop_activity_month(name) FROM activity_months() WHERE ends_at IS NOT NULL ORDER BY ends_at DESC LIMIT 1"
"""Drops the month that ends last."""


def fill(url: str, *, activities: int, days: int = 200) -> None:
    """Write activities of the last `days`, spread evenly."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in WORKTREES:
            conn.execute(statement.encode())
        conn.execute(ACTIVITIES.encode(), (days, activities))


def everything(conn: psycopg.Connection[Any]) -> dict[object, tuple[object, ...]]:
    """Each activity, whole, by its id."""
    rows = conn.execute("SELECT a.id, a::text FROM agent_activities a").fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}
