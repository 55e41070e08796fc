"""Whether the counts that are kept are those of the tables: rows that are written with triggers off are not counted."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled

from publisher.doctor.findings import Finding
from publisher.outbox.connection import translated

LIMIT_SECONDS = 20
"""Everything is counted for it: a second for ten million rows."""
REMEDY = "imi-registry maintain recount"

DIFFERING = "SELECT what, kept, counted FROM public.differing_counts()"


async def count_findings(conn: AsyncConnection) -> list[Finding]:
    """Name each count that is wrong. Raises `Unavailable`."""
    with translated():
        async with conn.transaction():
            await conn.execute(f"SET LOCAL statement_timeout = '{LIMIT_SECONDS}s'".encode())
            try:
                async with conn.transaction():
                    rows = await (await conn.execute(DIFFERING)).fetchall()
            except QueryCanceled:
                text = f"the counts that are kept could not be compared with the tables within {LIMIT_SECONDS} s"
                return [Finding(False, text, is_hindrance=False)]
    return [
        Finding(
            False,
            f"{kept:,} {what} are kept as their count, and {counted:,} are there: rows were written while triggers "
            f"were off; run: {REMEDY}",
            is_hindrance=False,
        )
        for what, kept, counted in rows
    ]
