"""What the sessions of publishers wait for: locks that somebody else holds in the database."""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.outbox.lead import PUBLISHER
from registry.database.blockers import Session
from registry.database.errors import translated

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


async def blocked(conn: AsyncConnection, patience_seconds: float = PATIENCE_SECONDS) -> list[str]:
    """Which sessions of publishers have waited for longer than `patience_seconds`, and behind whom, a sentence each.

    Raises `Unavailable`.
    """
    values = {"seconds": patience_seconds, "publisher": PUBLISHER}
    with translated():
        found = await (await conn.execute(BLOCKED, values)).fetchall()
    return [f"{waiting} waits for {Session(*holder)}, which holds a lock that it needs" for waiting, *holder in found]
