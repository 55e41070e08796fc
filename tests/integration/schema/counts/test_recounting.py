"""Rows that no trigger saw are told by doctor, and counted anew; who does not see all rows is answered by counting."""

from __future__ import annotations

import psycopg
import pytest

from publisher.doctor import counts
from publisher.doctor.counts import count_findings
from publisher.outbox.connection import connect
from tests.support.commandline import command_line
from tests.support.schema.counts import assert_exact, is_kept

PROJECT = "SELECT register_project('p' || n, 'git@github.com:o/p' || n || '.git') FROM generate_series(1, 3) n"
WORKTREES = """
INSERT INTO worktrees (project_id, type_id, name, branch_name, path, behind_trunk)
SELECT p.id, 1, n::text, 'b', '/' || p.id || '/' || n, 1
FROM projects p, generate_series(1, 2) n
"""


async def told(url: str) -> list[str]:
    async with connect(url, "test") as conn:
        return [one.text for one in await count_findings(conn)]


async def test_rows_written_with_triggers_off_are_told_and_counted_anew(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(PROJECT)
        assert await told(database) == []
        conn.execute("ALTER TABLE worktrees DISABLE TRIGGER USER")
        conn.execute(WORKTREES.encode())
        conn.execute("ALTER TABLE worktrees ENABLE TRIGGER USER")
        # when
        found = await told(database)
        # then
        assert [line.partition(" are kept")[0] for line in found] == [
            "0 worktrees",
            "0 active worktrees",
            "0 worktrees in flight",
        ]
        assert "6 are there: rows were written while triggers were off" in found[0]
        arguments = found[0].rpartition("run: imi-registry ")[2].split()
        assert command_line(monkeypatch, capsys, DATABASE_URL=database)(*arguments).code == 0
        assert await told(database) == []
        assert is_kept(conn)
        assert_exact(conn)


async def test_a_registry_too_large_to_compare_says_so(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "DIFFERING", "SELECT pg_sleep(60)")
    monkeypatch.setattr(counts, "LIMIT_SECONDS", 1)
    assert await told(database) == ["the counts that are kept could not be compared with the tables within 1 s"]


def test_who_sees_some_rows_is_told_of_those_alone(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(PROJECT)
        conn.execute(WORKTREES.encode())
        assert conn.execute("SELECT total_worktrees FROM get_registry_stats()").fetchone() == (6,)

        conn.execute("ALTER TABLE worktrees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        conn.execute("CREATE POLICY some_rows ON worktrees USING (name = '1')")

        assert conn.execute("SELECT total_worktrees, in_flight_worktrees FROM get_registry_stats()").fetchone() == (
            3,
            3,
        )
        assert len(conn.execute("SELECT * FROM get_inflight_work()").fetchall()) == 3
