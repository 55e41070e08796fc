"""How the log of agents is kept: the months that stand ahead, what lies in none, how far a move is."""

from __future__ import annotations

from psycopg import AsyncConnection

from publisher.gauges.level import Level
from publisher.outbox.connection import translated

KEPT = "SELECT CASE WHEN by_month THEN months_ahead END, elsewhere, moved FROM public.activities_kept()"


async def measure(conn: AsyncConnection) -> list[Level]:
    """The figures of a log by month, and of one that is being moved; none of any other. Raises `Unavailable`."""
    with translated():
        ahead, elsewhere, moved = await (await conn.execute(KEPT)).fetchone() or (None, None, None)
    return [
        Level.of("imi_activity_months_ahead", "Months of activities that are made ahead", ahead),
        Level.of("imi_activities_elsewhere", "Activities that are in no month, as PostgreSQL estimates", elsewhere),
        Level.of("imi_activities_moved_ratio", "Share of them that a move between shapes has copied", moved),
    ]
