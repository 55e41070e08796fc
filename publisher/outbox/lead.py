"""Leadership: one publisher of a stream at a time, behind an advisory lock and the epoch of the cursor."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.types.multirange import Multirange

from publisher.outbox.connection import translated
from publisher.outbox.cursor import Cursor, Deposed
from publisher.outbox.ranges import RangeSet

LEAD = """
UPDATE public.publisher_cursor
SET epoch = epoch + 1, heartbeat_at = clock_timestamp(), leader = %(leader)s
WHERE stream = %(stream)s
RETURNING published, stream_sequence, epoch, pg_current_xact_id()::text::bigint
"""

# The lock's number is taken from the stream's name, so that each stream fed from this database has its own leader.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('imi publisher ' || %(stream)s, 0))"

# A leader that hangs keeps its lock; its heartbeat tells. Ending its connection is what frees the lock.
DEPOSE = """
SELECT pg_terminate_backend(holder.pid)
FROM public.publisher_cursor AS cursor
JOIN pg_locks AS holder
    ON holder.locktype = 'advisory'
    AND holder.granted
    AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (holder.classid::bigint << 32) | holder.objid::bigint = hashtextextended('imi publisher ' || cursor.stream, 0)
    AND holder.objsubid = 1
WHERE cursor.stream = %(stream)s AND cursor.heartbeat_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s)
"""


async def try_lock(conn: AsyncConnection, stream: str) -> bool:
    """Keep publishers of `stream` from leading as long as `conn` lives; False when one leads. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(TRY_LOCK, {"stream": stream})).fetchone()
    return row is not None and bool(row[0])


async def try_lead(conn: AsyncConnection, stream: str, leader: str, stale_seconds: float) -> Cursor | None:
    """Become the one publisher of `stream`, or None while another one is alive.

    A leader whose heartbeat is older than `stale_seconds` loses its connection, and with it the lock, for the next
    attempt. The cursor returned carries a new epoch: whoever led before can no longer move it.
    """
    is_locked = await try_lock(conn, stream)
    with translated():
        if not is_locked:
            await conn.execute(DEPOSE, {"stream": stream, "stale_seconds": stale_seconds})
            return None
        async with conn.transaction():
            await conn.execute("SET LOCAL synchronous_commit = on")
            await conn.execute(
                "INSERT INTO public.publisher_cursor (stream) VALUES (%(stream)s) ON CONFLICT DO NOTHING",
                {"stream": stream},
            )
            row = await (await conn.execute(LEAD, {"stream": stream, "leader": leader})).fetchone()
    if row is None:
        raise Deposed(f"the cursor of stream {stream} was removed")
    published, stream_sequence, epoch, transaction_id = row
    return Cursor(stream, _ranges(published), stream_sequence, epoch, transaction_id)


def _ranges(multirange: Multirange[int]) -> RangeSet:
    """psycopg's multirange of int8 as a `RangeSet`; PostgreSQL keeps these in the form [low, high)."""
    return RangeSet(
        (part.lower, part.upper) for part in multirange if part.lower is not None and part.upper is not None
    )
