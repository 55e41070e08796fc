"""The judge of a mirror: both databases beside each other, row by row, column by column, by SQL of its own."""

from __future__ import annotations

import json
from typing import Any

import psycopg

KEYS = {
    "hosts": "id",
    "worktree_types": "id",
    "projects": "id",
    "project_aliases": "id",
    "project_hosts": "project_id, host_id",
    "worktrees": "id",
    "deleted_worktrees": "id",
    "agent_activities": "id",
}
UNTOLD = {
    "hosts": ["machine", "updated_at"],
    "projects": ["updated_at"],
    "project_hosts": ["updated_at"],
    "worktrees": ["updated_at", "last_sync_at"],
    "deleted_worktrees": ["deleted_at"],
}
"""Columns that change without an event, or that no event tells exactly."""
NEVER_TOLD = {"hosts": ["machine"]}
"""Those that a snapshot does not tell either."""

COUNTS = (
    "SELECT total_projects, active_projects, total_worktrees, active_worktrees, in_flight_worktrees, total_activities"
    " FROM get_registry_stats()"
)
SUMMARY = (
    "SELECT id, active_worktrees_count, uncommitted_worktrees_count, unmerged_worktrees_count FROM v_projects_summary"
    " ORDER BY id"
)


def tables(database: str, untold: dict[str, list[str]]) -> dict[str, list[str]]:
    """Each row of each table as text, in order of its key, every digit of its numbers kept."""
    found: dict[str, list[str]] = {}
    with psycopg.connect(database, autocommit=True, options="-c TimeZone=UTC") as conn:
        for table, key in KEYS.items():
            names = [
                name
                for (name,) in conn.execute(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_schema = 'public' AND table_name = %s ORDER BY column_name",
                    [table],
                )
                if name not in untold.get(table, [])
            ]
            columns = ", ".join(f"{name}::text" for name in names)
            rows = conn.execute(f"SELECT {columns} FROM public.{table} ORDER BY {key}".encode())  # noqa: S608  # names out of the catalog
            found[table] = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    return found


def counted(database: str) -> list[Any]:
    """What the registry says that it counted."""
    with psycopg.connect(database) as conn:
        return [conn.execute(COUNTS.encode()).fetchall(), conn.execute(SUMMARY.encode()).fetchall()]


def assert_same(source: str, mirror: str, *, is_snapshot: bool = False) -> None:
    """Fail with the rows that differ. Behind a snapshot alone the stamps are the same, too."""
    untold = NEVER_TOLD if is_snapshot else UNTOLD
    theirs, ours = tables(source, untold), tables(mirror, untold)
    for table in KEYS:
        missing, more = set(theirs[table]) - set(ours[table]), set(ours[table]) - set(theirs[table])
        told = f"{table}: the mirror lacks {sorted(missing)[:3]} and has {sorted(more)[:3]}"
        assert (missing, more) == (set(), set()), told
        assert len(theirs[table]) == len(ours[table])
    assert counted(source) == counted(mirror)
