"""What only adds functions, indexes and tables of its own comes and goes without a lock that any writer would meet."""

from __future__ import annotations

import threading

import psycopg

from registry.database import migrate
from registry.database.stepping import back
from tests.support.schema.lockouts import LOCKED_OUT

OURS = migrate.load()[:9]
BEFORE = 7
WRITE = "SELECT log_activity('ada', id, 'other', 'Rewrote the zebra') FROM worktrees"


def test_search_and_health_come_and_go_beside_writers(database: str) -> None:
    ended = threading.Event()
    written: list[int] = []
    locks: set[int] = set()

    def write() -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("SET lock_timeout = '60s'")
            while not ended.is_set():
                conn.execute(WRITE)
                written.append(1)

    with psycopg.connect(database) as conn, psycopg.connect(database, autocommit=True) as looker:
        back.down(conn, to=OURS[-1].version)
        looker.execute("SELECT register_project('a', 'git@github.com:o/a.git')")
        looker.execute("SELECT register_worktree(id, 'feat', 'x', 'x', '/x') FROM projects")

        def look() -> None:
            while not ended.is_set():
                (count,) = looker.execute(LOCKED_OUT.encode(), (conn.info.backend_pid,)).fetchone() or (0,)
                locks.add(count)

        threads = [threading.Thread(target=write), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                back.down(conn, to=BEFORE, migrations=OURS)
                migrate.apply(conn, migrations=OURS)
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)

        assert locks == {0}, "writers were locked out of a table"
        assert len(written) > 0
        found = looker.execute("SELECT count(*) FROM agent_activities").fetchone()
        told = looker.execute("SELECT count(*) FROM outbox WHERE entity = 'activity'").fetchone()
        assert found == told == (len(written),)
        (first, *_) = looker.execute("SELECT excerpt FROM search_registry('zebra', 5, '{activity}')").fetchall()
        assert first == (["Rewrote the ", "zebra", ""],)
