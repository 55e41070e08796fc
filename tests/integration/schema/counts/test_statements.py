"""Counts that are kept are exact after every kind of statement, folded or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.databases import Role, new_database
from tests.support.schema.counts import assert_exact, is_kept

Conn = psycopg.Connection[Any]

PROJECTS = """
INSERT INTO projects (name, remote_origin, trunk_path, active)
SELECT 'p' || n, 'git@github.com:o/p' || n || '.git', '/code/p' || n, n <> 3
FROM generate_series(1, 4) AS n
"""
WORKTREES = """
INSERT INTO worktrees (
    project_id, type_id, name, branch_name, path, ahead_of_trunk, has_uncommitted_changes, active, updated_at
)
SELECT
    p.id, 1, 'w' || n, 'b' || n, '/code/' || p.name || '/w' || n,
    n % 2, n % 3 = 0, n % 4 > 0, now() - n * interval '1 day'
FROM projects p, generate_series(1, 8) AS n
WHERE p.active
"""
ACTIVITIES = """
INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)
SELECT 'a', w.id, 'other', 'words', now() - n * interval '10 hours'
FROM worktrees w, generate_series(1, 3) AS n
"""
STATEMENTS = {
    "nothing": "UPDATE worktrees SET ahead_of_trunk = 0 WHERE false",
    "into flight": "UPDATE worktrees SET behind_trunk = 3",
    "out of flight": "UPDATE worktrees SET behind_trunk = 0, ahead_of_trunk = 0, uncommitted_files_count = 0",
    "no change that counts": "UPDATE worktrees SET ahead_of_trunk = 9 WHERE ahead_of_trunk > 0",
    "a touch": "UPDATE worktrees SET updated_at = now()",
    "soft delete": "UPDATE worktrees SET active = false WHERE name IN ('w1', 'w2')",
    "merged": "SELECT mark_worktree_merged(id, 'm', 'abc') FROM worktrees WHERE active AND name = 'w3'",
    "taken up again": "UPDATE worktrees SET active = true WHERE name = 'w4'",
    "to another project": "UPDATE worktrees SET name = name || project_id,"
    " project_id = (SELECT id FROM projects WHERE name = 'p1')",
    "deleted": "DELETE FROM worktrees WHERE name IN ('w2', 'w4')",
    "all deleted": "DELETE FROM worktrees",
    "project off": "SELECT deactivate_project(id) FROM projects WHERE name = 'p1'",
    "project on": "UPDATE projects SET active = true WHERE name = 'p3'",
    "project deleted": "DELETE FROM projects WHERE name = 'p1'",
    "everything deleted": "DELETE FROM projects",
    "on conflict": "INSERT INTO projects (name, remote_origin, trunk_path)"
    " SELECT name, remote_origin, '/x' FROM projects UNION ALL SELECT 'new', 'git@github.com:o/new.git', '/new'"
    " ON CONFLICT (remote_origin) DO UPDATE SET active = true",
    "several in one": "WITH a AS (DELETE FROM worktrees WHERE name = 'w1' RETURNING project_id), b AS (UPDATE worktrees"
    " SET active = false WHERE name = 'w2'), c AS (INSERT INTO projects (name, remote_origin, trunk_path)"
    " VALUES ('q', 'git@github.com:o/q.git', '/q')) UPDATE worktrees SET behind_trunk = 1 WHERE name = 'w5'",
    "log": "SELECT log_activity('a', id, 'other', 'words') FROM worktrees",
    "retention": "SELECT cleanup_old_activities(1)",
    "prune": "SELECT prune_inactive_worktrees(0)",
    "truncate activities": "TRUNCATE agent_activities",
    "truncate worktrees": "TRUNCATE worktrees",
    "truncate projects": "TRUNCATE projects CASCADE",
    "truncate several": "TRUNCATE projects, worktrees, agent_activities, worktree_types",
}


@pytest.fixture(scope="module")
def filled(admin_url: str, owner: Role, template_database: str) -> Iterator[str]:
    """A registry with some of everything, whose counts are folded; what a test does in it is taken back."""
    with new_database(admin_url, owner, template_database) as url:
        with psycopg.connect(url, autocommit=True) as conn:
            for statement in (PROJECTS, WORKTREES, ACTIVITIES):
                conn.execute(statement.encode())
            conn.execute("CALL fold_counts()")
        yield url


@pytest.fixture
def conn(filled: str) -> Iterator[Conn]:
    with psycopg.connect(filled, autocommit=True) as conn, conn.transaction(force_rollback=True):
        yield conn


@pytest.mark.parametrize("kind", STATEMENTS)
def test_counts_are_exact_after(conn: Conn, kind: str) -> None:
    conn.execute(STATEMENTS[kind].encode())

    assert_exact(conn)
    conn.execute("CALL fold_counts()")
    assert is_kept(conn)
    assert_exact(conn)
    assert conn.execute("SELECT count(*) FROM count_delta").fetchone() == (0,)
    assert conn.execute("SELECT * FROM differing_counts()").fetchall() == []


def test_what_is_rolled_back_is_not_counted(conn: Conn) -> None:
    with conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM projects")
        conn.execute("CALL fold_counts()")
    with conn.transaction():
        with conn.transaction(force_rollback=True):
            conn.execute("UPDATE worktrees SET behind_trunk = 3, active = true")
            conn.execute("CALL fold_counts()")
        conn.execute("DELETE FROM worktrees WHERE name = 'w1'")

    assert_exact(conn)


def test_copy_is_counted(conn: Conn) -> None:
    (project,) = conn.execute("SELECT id FROM projects WHERE name = 'p1'").fetchone() or ()
    with conn.cursor().copy("COPY worktrees (project_id, type_id, name, branch_name, path, active) FROM STDIN") as copy:
        for number in range(100):
            copy.write_row((project, 1, f"c{number}", "b", f"/copied/{number}", number % 2 == 0))

    assert is_kept(conn)
    assert_exact(conn)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_truncate_that_does_not_see_all_deltas_is_counted(database: str, level: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn, psycopg.connect(database, autocommit=True) as other:
        for statement in (PROJECTS, WORKTREES):
            conn.execute(statement.encode())
        with conn.transaction():
            conn.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
            conn.execute("SELECT 1 FROM projects")
            other.execute("UPDATE worktrees SET behind_trunk = 7")
            conn.execute("TRUNCATE worktrees")
            conn.execute("CALL fold_counts()")

        assert not is_kept(conn)
        assert_exact(conn)
        conn.execute("CALL fold_counts()")
        assert is_kept(conn)
        assert_exact(conn)


def test_a_transaction_that_began_before_the_last_one_sets_the_last_activity_back(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn, psycopg.connect(database, autocommit=True) as other:
        for statement in (PROJECTS, WORKTREES):
            conn.execute(statement.encode())
        with conn.transaction():
            conn.execute("SELECT now()")
            other.execute("UPDATE worktrees SET behind_trunk = 7")
            other.execute("CALL fold_counts()")
            conn.execute("UPDATE worktrees SET behind_trunk = 8")

        assert is_kept(conn)
        assert_exact(conn)
        conn.execute("CALL fold_counts()")
        assert_exact(conn)


def test_what_writers_append_is_folded_by_one_of_them(conn: Conn) -> None:
    appended = 0
    while conn.execute("SELECT count(*) FROM count_delta").fetchone() == (appended,):
        appended += conn.execute("UPDATE worktrees SET behind_trunk = 1 - least(behind_trunk, 1) WHERE active").rowcount
        assert appended < 100_000

    assert_exact(conn)


def test_readers_scan_no_table_for_the_counts(conn: Conn) -> None:
    conn.execute("SET LOCAL enable_seqscan = off")  # the tables are small
    before = scans(conn)
    conn.execute("SELECT * FROM get_registry_stats()")
    conn.execute("SELECT * FROM get_inflight_work()")
    assert scans(conn) == before

    conn.execute("TRUNCATE worktrees")
    conn.execute("SELECT * FROM get_registry_stats()")
    assert scans(conn) != before


def scans(conn: Conn) -> list[tuple[Any, ...]]:
    """How often this transaction read all of a table that grows."""
    query = """
    SELECT relname, seq_scan
    FROM pg_stat_xact_user_tables
    WHERE relname IN ('projects', 'worktrees', 'agent_activities', 'project_counts')
    ORDER BY relname
    """
    return conn.execute(query.encode()).fetchall()
