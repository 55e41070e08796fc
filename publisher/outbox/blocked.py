"""What the sessions of publishers wait for: locks that somebody else holds in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from publisher.outbox.lead import PUBLISHER
from registry.database.blockers import Session
from registry.database.errors import translated
from registry.errors import Unavailable

PATIENCE_SECONDS = 3.0
"""Waiting no longer than that is how writers take turns."""

# PostgreSQL shows all of this to everybody. No table of the registry is read: it may be what is locked.
BLOCKED = """
SELECT waiting.application_name, blocker.pid, coalesce(holder.application_name, ''), coalesce(holder.usename, '')::text
FROM (
    SELECT DISTINCT pid
    FROM pg_locks
    WHERE NOT granted AND waitstart < clock_timestamp() - make_interval(secs => %(seconds)s::float8)
) AS lock
JOIN pg_stat_activity AS waiting
    ON waiting.pid = lock.pid
    AND waiting.datname = current_database()
    AND starts_with(waiting.application_name, %(publisher)s)
CROSS JOIN LATERAL unnest(pg_blocking_pids(lock.pid)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS holder ON holder.pid = blocker.pid
ORDER BY waiting.application_name, blocker.pid
"""


# Who reads waits for nobody but for these.
LOCKED = """
SELECT
    string_agg(DISTINCT lock.relation::regclass::text, ', ' ORDER BY lock.relation::regclass::text),
    lock.pid,
    coalesce(holder.application_name, ''),
    coalesce(holder.usename, '')::text
FROM pg_locks AS lock
JOIN pg_class AS relation
    ON relation.oid = lock.relation
    AND relation.relkind = 'r'
    AND relation.relnamespace = 'public'::regnamespace
LEFT JOIN pg_stat_activity AS holder ON holder.pid = lock.pid
WHERE lock.granted
    AND lock.mode = 'AccessExclusiveLock'
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 2, 3, 4
ORDER BY 2
"""


async def blocked(conn: AsyncConnection, patience_seconds: float = PATIENCE_SECONDS) -> list[str]:
    """Which sessions of publishers have waited for longer than `patience_seconds`, and behind whom, a sentence each.

    Raises `Unavailable`.
    """
    values = {"seconds": patience_seconds, "publisher": PUBLISHER}
    with translated():
        found = await (await conn.execute(BLOCKED, values)).fetchall()
    return [f"{waiting} waits for {Session(*holder)}, which holds a lock that it needs" for waiting, *holder in found]


async def locked(conn: AsyncConnection[Any]) -> list[str]:
    """Who has locked which tables against reading, a sentence each. Raises `Unavailable`."""
    with translated():
        found = await (await conn.execute(LOCKED)).fetchall()
    return [f"{Session(*holder)} has locked {tables}: end that session" for tables, *holder in found]


@asynccontextmanager
async def holder_named(conn: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Inside, a table that is locked for longer than the session of `conn` waits is an `Unavailable` that says by whom.

    What was begun on `conn` is rolled back then.
    """
    try:
        yield
    except Unavailable as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        with translated():
            await conn.rollback()
        raise Unavailable("; ".join(await locked(conn)) or str(error)) from error
