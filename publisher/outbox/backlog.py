"""Rows that are older than the outbox and have no event yet: `imi-registry migrate up` writes them."""

from __future__ import annotations

from psycopg import AsyncConnection

from registry.database.backfill import COUNT_BACKLOG

WITHOUT_EVENT = "are older than the outbox and have no event yet; run: imi-registry migrate up"


async def rows_without_event(conn: AsyncConnection) -> int:
    """How many there are. 0 as soon as a migration that was not cut off is done."""
    (waiting,) = await (await conn.execute(COUNT_BACKLOG)).fetchone() or (0,)
    return int(waiting)
