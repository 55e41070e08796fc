"""Which sessions keep others from locks, in sentences: who holds one, and who stands in front of all who come later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable

from publisher.outbox.waits import Wait, waits
from registry.database.blockers import Session
from registry.database.errors import translated
from registry.errors import Unavailable

LISTED = 3
"""So many are named; of the others it is said how many there are."""

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
    AND relation.relkind IN ('r', 'p')
    AND relation.relnamespace = 'public'::regnamespace
LEFT JOIN pg_stat_activity AS holder ON holder.pid = lock.pid
WHERE lock.granted
    AND lock.mode = 'AccessExclusiveLock'
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 2, 3, 4
ORDER BY 2
"""


class Blocked(NamedTuple):
    """Who has waited for too long, a sentence each."""

    ours: list[str]
    """Sessions of publishers and appliers."""
    others: list[str]
    """Whoever is in front at a relation: for those who come later."""


async def blocked(conn: AsyncConnection[Any]) -> Blocked:
    """Who waits, and for whom. Raises `Unavailable`."""
    found = await waits(conn)
    ours = [wait for wait in found if wait.is_ours]
    return Blocked(list(dict.fromkeys(map(_waits, ours))), _in_front(found))


async def keepers(conn: AsyncConnection[Any]) -> list[str]:
    """Who keeps others off which tables now, a sentence each. Raises `Unavailable`."""
    return await _locked(conn) or _in_front(await waits(conn, 0.0))


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
        raise Unavailable("; ".join(await keepers(conn)) or str(error)) from error


async def _locked(conn: AsyncConnection[Any]) -> list[str]:
    with translated():
        try:
            found = await (await conn.execute(LOCKED)).fetchall()
        except LockNotAvailable:  # a catalog
            return []
    return [f"{Session(*holder)} has locked {tables}: end that session" for tables, *holder in found]


def _waits(wait: Wait) -> str:
    return f"{wait.session.application} waits for {_named(wait.holders)}, which holds or asks for a lock that it needs"


def _in_front(found: Sequence[Wait]) -> list[str]:
    """Of our own sessions only those that others come behind: that they wait is told anyway."""
    first = [wait for wait in found if wait.is_first and (wait.is_strong or not wait.is_ours)]
    told = [_told(wait) for wait in first[:LISTED]]
    if len(first) > LISTED:
        told.append(f"{len(first) - LISTED} more tables are waited for like that")
    return told


def _told(wait: Wait) -> str:
    since = f"{wait.since.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    waits = f"{wait.session} has waited for {wait.mode} on {wait.relation} since {since}, behind {_named(wait.holders)}"
    if not wait.is_strong:
        return f"{waits}: let that end, or end it"
    come = "read or write" if wait.mode == "AccessExclusiveLock" else "write"
    return (
        f"{waits}, and whoever comes later to {come} waits behind it: SELECT pg_terminate_backend({wait.session.pid}) "
        "ends that; a login that has no business here is to lose CONNECT"
    )


def _named(sessions: Sequence[Session]) -> str:
    more = f" and {len(sessions) - LISTED} more" if len(sessions) > LISTED else ""
    return ", ".join(map(str, sessions[:LISTED])) + more
