"""Who waits for a lock in the database: sessions of publishers, and whoever stands in front of others.

PostgreSQL asks for some locks before it asks for rights: who has none may wait for one that he never gets, and whoever
comes later waits behind him. It shows all of this to everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable
from psycopg.rows import class_row

from publisher.outbox.lead import PUBLISHER
from publisher.outbox.taking_on import by_any_role
from registry.database.blockers import Session
from registry.database.errors import translated

PATIENCE_SECONDS = 3.0
"""Waiting no longer than that is how writers take turns. Who has no right to what he waits for takes none."""

# No table, no view and no catalog is read, by name either: each may be what is waited for.
WAITS = """
WITH lock AS MATERIALIZED (
    SELECT
        pid,
        CASE locktype WHEN 'relation' THEN relation END AS relation,
        mode,
        mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AS is_strong,
        coalesce(waitstart, clock_timestamp()) AS since,  -- NULL for a moment, while it is not written yet
        coalesce(waitstart < clock_timestamp() - make_interval(secs => %(seconds)s::float8), false) AS is_long
    FROM pg_lock_status()
    WHERE NOT granted
        AND coalesce(database, 0) IN (0, (SELECT datid FROM pg_stat_get_activity(pg_backend_pid())))
), queued AS (
    SELECT
        *,
        relation IS NOT NULL
            AND row_number() OVER (PARTITION BY relation ORDER BY is_strong DESC, since) = 1 AS is_first,
        bool_or(is_long) OVER (PARTITION BY relation) AS is_waited_for_long
    FROM lock
)
SELECT
    queued.relation,
    queued.mode,
    queued.is_strong,
    queued.is_first,
    queued.is_waited_for_long,
    queued.since,
    queued.is_long AND starts_with(waiting.application_name, %(publisher)s)
        AND waiting.datid = (SELECT datid FROM pg_stat_get_activity(pg_backend_pid())) AS is_called_publisher,
    queued.pid,
    coalesce(waiting.application_name, '') AS application,
    coalesce(waiting.usesysid, 0) AS role,
    blocker.pid AS holder_pid,
    coalesce(holder.application_name, '') AS holder_application,
    coalesce(holder.usesysid, 0) AS holder_role
FROM queued
CROSS JOIN LATERAL pg_stat_get_activity(queued.pid) AS waiting
CROSS JOIN LATERAL (SELECT DISTINCT pid FROM unnest(pg_blocking_pids(queued.pid)) AS blocker (pid)) AS blocker
LEFT JOIN LATERAL pg_stat_get_activity(blocker.pid) AS holder ON true
WHERE queued.is_long OR queued.is_first AND (queued.is_waited_for_long OR queued.is_strong)
ORDER BY queued.since, queued.pid, EXISTS (SELECT FROM lock WHERE lock.pid = blocker.pid), blocker.pid
"""

RELATIONS = "SELECT oid::bigint, oid::regclass::text FROM unnest(%s::oid[]) AS oid WHERE pg_table_is_visible(oid)"

# Anybody may call himself a publisher. Who may not move the cursor, nor write the ledger, is none, and no applier.
IS_PUBLISHER = """
    has_table_privilege(own.oid, to_regclass('public.publisher_cursor'), 'UPDATE')
    OR has_table_privilege(own.oid, to_regclass('public.command_ledger'), 'INSERT')
"""
ROLES = f"""
SELECT asked.role::bigint, pg_get_userbyid(asked.role)::text, {by_any_role("asked.role", IS_PUBLISHER)}
FROM unnest(%s::oid[]) AS asked (role)
"""  # noqa: S608  # of constants

# CREATE RULE, CREATE TRIGGER and a foreign key ask for the lock first, and for the right then. Not meant is who may do
# anything with the relation, by whatever role he may take on, and for whom functions of the registry take locks.
MAY_LOCK = f"""
    has_table_privilege(own.oid, asked.relation, %(rights)s)
    OR has_table_privilege(own.oid, to_regclass('public.projects'), 'INSERT')
    OR {IS_PUBLISHER}
"""
WITHOUT_RIGHT = f"""
SELECT asked.role::bigint, asked.relation::bigint
FROM unnest(%(roles)s::oid[], %(relations)s::oid[]) AS asked (role, relation)
WHERE NOT {by_any_role("asked.role", MAY_LOCK)}
"""  # noqa: S608  # of constants
RIGHTS = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"
MAINTAIN_VERSION = 170000
"""The first server that knows that right."""


class Wait(NamedTuple):
    """A session that waits for a lock."""

    session: Session
    holders: list[Session]
    """For whom: they hold the lock, or asked for it before; those first who wait for nobody."""
    relation: str | None
    """Of which the lock is; None of another one, as of a row, and of what is none of the registry."""
    mode: str
    is_strong: bool
    """Whether who writes waits behind this session."""
    since: datetime
    is_first: bool
    """Whether it stands in front of the others who wait for this relation."""
    is_ours: bool
    """Whether it is a publisher's, or an applier's, and has waited for long."""


class _Row(NamedTuple):
    """What `WAITS` tells: a wait, and one of those for whom it is."""

    relation: int | None
    mode: str
    is_strong: bool
    is_first: bool
    is_waited_for_long: bool
    since: datetime
    is_called_publisher: bool
    pid: int
    application: str
    role: int
    holder_pid: int
    holder_application: str
    holder_role: int


class _Names(NamedTuple):
    """Of what has numbers; none where a catalog is waited for, in which names are looked up."""

    relations: dict[int, str] | None
    roles: dict[int, tuple[str, bool]]
    """With whether that is a publisher, or an applier."""
    without_right: set[tuple[int, int]]
    """Roles, and relations of which they can never have a strong lock."""

    def relation(self, number: int | None) -> str | None:
        """None for one of others."""
        if number is None:
            return None
        return f"relation {number}" if self.relations is None else self.relations.get(number)

    def session(self, pid: int, application: str, role: int) -> Session:
        name, _ = self.roles.get(role, (str(role or ""), False))
        return Session(pid, application, name)

    def is_publisher(self, role: int) -> bool:
        return self.roles.get(role, ("", False))[1]


async def waits(conn: AsyncConnection[Any], patience_seconds: float | None = None) -> list[Wait]:
    """Who has waited for longer than `patience_seconds` (None: 3), or is in front of one who has. Raises `Unavailable`.

    Of others than publishers those alone who are the first in front of a relation. There somebody is told at once who
    waits for what he never gets: several can take turns, none of whom waits for long.
    """
    seconds = PATIENCE_SECONDS if patience_seconds is None else patience_seconds
    values = {"seconds": seconds, "publisher": PUBLISHER}
    with translated():
        found = await (await conn.cursor(row_factory=class_row(_Row)).execute(WAITS, values)).fetchall()
    return [*_told(found, await _names(conn, found))] if found else []


def _told(found: list[_Row], names: _Names) -> Iterator[Wait]:
    for _, same in groupby(found, key=lambda row: (row.since, row.pid)):
        rows = list(same)
        row = rows[0]
        relation = names.relation(row.relation)
        is_ours = row.is_called_publisher and names.is_publisher(row.role)
        is_told = row.is_waited_for_long or (row.role, row.relation) in names.without_right
        is_first = row.is_first and relation is not None and is_told
        if is_ours or is_first:
            yield Wait(
                names.session(row.pid, row.application, row.role),
                [names.session(one.holder_pid, one.holder_application, one.holder_role) for one in rows],
                relation,
                row.mode,
                row.is_strong,
                row.since,
                is_first,
                is_ours,
            )


async def _names(conn: AsyncConnection[Any], found: list[_Row]) -> _Names:
    relations = sorted({row.relation for row in found if row.relation is not None})
    roles = sorted({row.role for row in found} | {row.holder_role for row in found})
    asked = sorted({(row.role, row.relation) for row in found if row.is_strong and row.relation is not None})
    with translated():
        try:
            named = await (await conn.execute(RELATIONS, [relations])).fetchall()
            called = await (await conn.execute(ROLES, [roles])).fetchall()
            values = {
                "roles": [role for role, _ in asked],
                "relations": [relation for _, relation in asked],
                "rights": RIGHTS + (", MAINTAIN" if conn.info.server_version >= MAINTAIN_VERSION else ""),
            }
            without_right = await (await conn.execute(WITHOUT_RIGHT, values)).fetchall()
        except LockNotAvailable:
            return _Names(None, {}, set())
    return _Names(
        dict(named), {number: (name, is_publisher) for number, name, is_publisher in called}, set(without_right)
    )
