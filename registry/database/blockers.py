"""Who keeps a session of PostgreSQL waiting: other sessions, which hold a lock that it needs."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from registry.database.errors import translated

# PostgreSQL shows these columns of a session to everybody.
_BLOCKERS: LiteralString = """
SELECT
    blocker.pid,
    coalesce(session.application_name, '') AS application,
    coalesce(session.usename, '')::text AS "user"
FROM unnest(pg_blocking_pids(%s)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS session ON session.pid = blocker.pid
ORDER BY blocker.pid
"""


class Session(NamedTuple):
    """A session of PostgreSQL, as others see it."""

    pid: int
    """Of its server process; 0 is a prepared transaction, which has none."""
    application: str
    user: str

    def __str__(self) -> str:
        if self.pid == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        return f'pid {self.pid} (application "{self.application}", user {self.user})'


def blockers(conn: Connection[Any], pid: int) -> list[Session]:
    """The sessions behind whose locks the session `pid` waits now. Raises `Unavailable`."""
    with translated(), conn.cursor(row_factory=class_row(Session)) as cursor:
        return cursor.execute(_BLOCKERS, [pid]).fetchall()
