"""A backlog of real events: git-state updates, written by the triggers, ten worktrees in each transaction."""

from __future__ import annotations

import psycopg
from psycopg.types.numeric import Int8

WORKTREES = """
WITH project AS (
    SELECT register_project('bench', 'git@github.com:bench/bench.git') AS id
)
INSERT INTO worktrees (project_id, type_id, name, branch_name, path, agent_id)
SELECT project.id, 1, 'feat-' || number, 'feat/' || number, '/bench/feat-' || number, 'agent-' || number % 7
FROM project, generate_series(0, 99) AS number
"""

UPDATES = """
CREATE PROCEDURE pg_temp.fill(transactions bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR number IN 1..transactions LOOP
        UPDATE worktrees
        SET ahead_of_trunk = number % 1000 + 1, last_commit_hash = md5(number::text), last_sync_at = clock_timestamp()
        WHERE name = ANY (SELECT 'feat-' || (number * 10 + part) % 100 FROM generate_series(0, 9) AS part);
        COMMIT;
    END LOOP;
END
$$
"""

EVENTS_PER_TRANSACTION = 10


def prepare(conn: psycopg.Connection) -> None:
    """Register the project and the 100 worktrees that `fill` changes."""
    conn.execute(WORKTREES)


def fill(database_url: str, events: int) -> int:
    """Write about `events` more events; returns how many the outbox holds now."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        if conn.execute("SELECT count(*) FROM worktrees").fetchone() == (0,):
            prepare(conn)
        conn.execute(UPDATES)
        conn.execute("CALL pg_temp.fill(%s)", [Int8(events // EVENTS_PER_TRANSACTION)])
        conn.execute("VACUUM ANALYZE worktrees, outbox")
        row = conn.execute("SELECT count(*) FROM outbox").fetchone()
        assert row is not None
        return int(row[0])
