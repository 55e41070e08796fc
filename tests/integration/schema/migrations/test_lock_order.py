"""Tables are locked against readers in the order in which writers come by them.

A writer of an activity reads its worktree, and one of a worktree its project; all write the outbox in the end. A file
that locks them the other way round meets a writer of each kind in a circle. The runner gives way, and under writers
that never rest it does so for ever.
"""

from __future__ import annotations

from typing import Any

import psycopg

from registry.database import migrate
from registry.database.stepping.script import run_alone, script

ORDER = ("agent_activities", "worktrees", "projects", "outbox")
"""As writers come by them."""
LOCKED = """
SELECT c.relname
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.mode = 'AccessExclusiveLock' AND c.relname = ANY(%s)
    AND c.relnamespace = 'public'::regnamespace
"""


def locked_in_order(conn: psycopg.Connection[Any], name: str, text: str) -> list[str]:
    """The tables that the file locks, in its order; of one statement, only that it took them can be seen."""
    found = script(name, text)
    locked: list[str] = []
    run_alone(conn, name, found.before)
    with conn.transaction():
        for statement in found.transaction:
            conn.execute(statement.text.encode())
            now = {table for (table,) in conn.execute(LOCKED, [list(ORDER)])} - set(locked)
            locked += sorted(now, key=ORDER.index)
    run_alone(conn, name, found.behind)
    return locked


def test_tables_are_locked_as_writers_come_by_them(empty_database: str) -> None:
    later = [one for one in migrate.load() if one.version > 6]
    with psycopg.connect(empty_database, autocommit=True) as conn:
        migrate.apply(conn, migrations=[one for one in migrate.load() if one.version <= 6])
        up = {one.name: locked_in_order(conn, one.name, one.sql) for one in later}
        back = {f"down/{one.name}": locked_in_order(conn, one.name, one.down or "") for one in reversed(later)}
    locked = up | back
    assert locked["down/007_counts.sql"] == ["agent_activities", "worktrees", "projects"]
    assert {name: tables for name, tables in locked.items() if tables != sorted(tables, key=ORDER.index)} == {}
