"""A registry in use is upgraded by all migrations from 007 on, and taken back, while others write.

The long form has 100,000 worktrees and 1,000,000 activities; run it with `-s` to see how long each migration took, how
long at a time writers were locked out of a table, and how long the slowest write took.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from random import Random
from threading import Event
from time import monotonic
from typing import Any, NamedTuple

import psycopg
import pytest

from registry.database import migrate
from registry.database.stepping import back
from tests.support.schema.counts import SUMMARY, TOTALS, assert_exact
from tests.support.schema.lockouts import watched

Conn = psycopg.Connection[Any]

EVERY = migrate.load()
FIRST = [one for one in EVERY if one.version <= 6]
LATER = [one for one in EVERY if one.version > 6]
WRITERS = 4


class Size(NamedTuple):
    """How much there is before the upgrade."""

    projects: int
    worktrees: int
    activities: int


SMALL = Size(20, 500, 5_000)
LARGE = Size(10_000, 100_000, 1_000_000)
FILL = (
    "INSERT INTO projects (name, remote_origin, trunk_path)"
    " SELECT 'p' || n, 'git@github.com:o/p' || n || '.git', '/p' || n FROM generate_series(1, %(projects)s) n",
    "INSERT INTO worktrees (project_id, type_id, name, branch_name, path, ahead_of_trunk, active)"
    " SELECT p.id, 1, 'w' || n, 'b', '/' || p.name || '/' || n, n %% 2, n %% 3 > 0"
    " FROM projects p, generate_series(1, %(worktrees)s / %(projects)s) n",
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT 'a', w.id, 'other', 'words', now() - n * interval '9 days'"
    " FROM worktrees w, generate_series(1, %(activities)s / %(worktrees)s) n",
)
TABLES = ("projects", "worktrees", "agent_activities")
WRITES = (
    "SELECT update_worktree_git_state(id, p_ahead => ahead_of_trunk + 1) FROM worktrees WHERE path = %s",
    "UPDATE worktrees SET behind_trunk = 1 - least(behind_trunk, 1) WHERE path = %s",
    "SELECT log_activity('a', id, 'other', 'while it is upgraded') FROM worktrees WHERE path = %s",
    "INSERT INTO agent_activities (agent_id, worktree_id, activity_type, description, created_at)"
    " SELECT 'b', id, 'other', 'words', now() - interval '200 days' FROM worktrees WHERE path = %s",
)


class Written:
    """What one writer did, and how long its slowest write took since somebody last asked."""

    def __init__(self, conn: Conn, number: int, size: Size) -> None:
        self._conn, self._rng, self._size = conn, Random(number), size
        self.writes = self.activities = 0
        self.slowest_seconds = 0.0

    def until(self, ended: Event) -> None:
        """Write until then. An error of any write is one of the test."""
        while not ended.is_set():
            kind = self._rng.randrange(len(WRITES))
            project = self._rng.randrange(self._size.projects) + 1
            worktree = self._rng.randrange(self._size.worktrees // self._size.projects) + 1
            began = monotonic()
            self._conn.execute(WRITES[kind].encode(), [f"/p{project}/{worktree}"])
            self.slowest_seconds = max(self.slowest_seconds, monotonic() - began)
            self.writes += 1
            self.activities += kind > 1


@pytest.fixture(
    params=[pytest.param(SMALL, id="small"), pytest.param(LARGE, id="large", marks=pytest.mark.long)],
)
def filled(request: pytest.FixtureRequest, empty_database: str) -> tuple[str, Size]:
    """URL of a registry as 006 has it, and how much is in it."""
    size: Size = request.param
    with psycopg.connect(empty_database, autocommit=True) as conn:
        migrate.apply(conn, migrations=FIRST)
        for table in TABLES:
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for statement in FILL:
            conn.execute(statement.encode(), size._asdict())
        for table in TABLES:
            conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
        conn.execute("ANALYZE")
    return empty_database, size


@contextmanager
def writing(url: str, size: Size) -> Iterator[list[Written]]:
    """Writers at work, until the block ends."""
    ended = Event()
    with ExitStack() as stack, ThreadPoolExecutor(WRITERS) as threads:
        conns = [stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(WRITERS)]
        writers = [Written(conn, number, size) for number, conn in enumerate(conns)]
        futures = [threads.submit(writer.until, ended) for writer in writers]
        try:
            yield writers
        finally:
            ended.set()
        for future in futures:
            future.result()


def step(conn: Conn, url: str, way: str, writers: list[Written]) -> None:
    """Go all the way up, or back, one migration after the other, and tell of each."""
    with watched(url, conn.info.backend_pid) as seen:
        for one in LATER if way != "back" else LATER[::-1]:
            began, seen.stage = monotonic(), one.name
            for writer in writers:
                writer.slowest_seconds = 0.0
            if way == "back":
                assert back.down(conn, to=one.version - 1) == [one.name]
            else:
                assert migrate.apply(conn, migrations=EVERY[: EVERY.index(one) + 1]) == [one.name]
            slowest = max(writer.slowest_seconds for writer in writers)
            print(
                f"| {way} | {one.name} | {monotonic() - began:.2f} | {1000 * seen.longest_seconds[one.name]:.0f}"
                f" | {1000 * slowest:.0f} |"
            )
    assert seen.locked_out_by == set()


def test_a_registry_is_upgraded_and_taken_back_while_others_write(filled: tuple[str, Size]) -> None:
    url, size = filled
    with psycopg.connect(url, autocommit=True) as conn:
        for way in ("up", "back", "up again"):
            (before,) = conn.execute("SELECT count(*) FROM agent_activities").fetchone() or (0,)
            began = monotonic()
            with writing(url, size) as writers:
                step(conn, url, way, writers)
            print(f"{way}: {monotonic() - began:.1f} s, {sum(writer.writes for writer in writers):,} writes")

            (after,) = conn.execute("SELECT count(*) FROM agent_activities").fetchone() or (0,)
            assert after == before + sum(writer.activities for writer in writers)
            told = conn.execute("SELECT count(*) FROM outbox WHERE entity = 'activity'").fetchone()
            assert told == (after - size.activities // size.worktrees * size.worktrees,)
            assert conn.execute("SELECT * FROM get_registry_stats()").fetchall() == conn.execute(TOTALS).fetchall()
            summary = conn.execute("SELECT * FROM v_projects_summary ORDER BY id").fetchall()
            assert summary == conn.execute(f"{SUMMARY} ORDER BY p.id".encode()).fetchall()
        assert_exact(conn)
