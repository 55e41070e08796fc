"""The counts that are kept, held against the tables: one snapshot for both."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

TOTALS = """
SELECT
    (SELECT count(*) FROM projects),
    (SELECT count(*) FROM projects WHERE active),
    (SELECT count(*) FROM worktrees),
    (SELECT count(*) FROM worktrees WHERE active),
    (SELECT count(*) FROM v_inflight_work),
    (SELECT count(*) FROM agent_activities),
    (SELECT count(*) FROM agent_activities WHERE created_at > now() - interval '24 hours')
"""
SUMMARY = """
SELECT
    p.id, p.name, p.remote_origin, p.trunk_path, p.created_at, p.updated_at,
    count(w.id) FILTER (WHERE w.active),
    count(w.id) FILTER (WHERE w.active AND w.has_uncommitted_changes),
    count(w.id) FILTER (WHERE w.active AND w.merged_at IS NULL),
    max(w.updated_at)
FROM projects p
LEFT JOIN worktrees w ON w.project_id = p.id
WHERE p.active
GROUP BY p.id
"""
IN_FLIGHT = """
SELECT
    id, worktree_name, branch_name, status, uncommitted_files_count, ahead_of_trunk, behind_trunk, agent_id, updated_at
FROM v_inflight_work
ORDER BY updated_at DESC, id
"""


def assert_exact(conn: psycopg.Connection[Any]) -> None:
    """What is told of the counts is what is in the tables, in one snapshot unless `conn` has a transaction open.

    Its rows are tuples.
    """
    is_alone = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction():
        if is_alone:
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # Before the snapshot: a table that is truncated after it is empty for it, too.
            conn.execute("LOCK TABLE projects, worktrees, agent_activities IN ACCESS SHARE MODE")
        assert conn.execute("SELECT * FROM get_registry_stats()").fetchall() == conn.execute(TOTALS).fetchall()
        assert conn.execute("SELECT * FROM get_inflight_work()").fetchall() == conn.execute(IN_FLIGHT).fetchall()
        told = conn.execute("SELECT * FROM v_projects_summary ORDER BY id").fetchall()
        assert told == conn.execute(f"{SUMMARY} ORDER BY p.id".encode()).fetchall()


def is_kept(conn: psycopg.Connection[Any]) -> bool:
    """Whether the counts that are kept are used, so that a comparison compares them."""
    row = conn.execute("SELECT may_use_counts()").fetchone()
    assert row is not None
    return bool(row[0])
