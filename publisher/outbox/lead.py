"""Leadership: one publisher of a stream at a time, behind an advisory lock and the epoch of the cursor."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.multirange import Multirange

from publisher.outbox.connection import translated
from publisher.outbox.cursor import Cursor, Deposed
from publisher.outbox.ranges import RangeSet
from registry.database.blockers import Session
from registry.errors import Unprepared

LEAD = """
UPDATE public.publisher_cursor AS cursor
SET epoch = epoch + 1, heartbeat_at = clock_timestamp(), leader = %(leader)s
WHERE stream = %(stream)s
RETURNING
    public.published_ids(cursor), stream_sequence, epoch, pg_current_xact_id()::text::bigint, dead_ids, hindrance
"""

# The lock's number is taken from the stream's name, so that each stream fed from this database has its own leader.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('imi publisher ' || %(stream)s, 0))"

# Anybody who may connect may hold any advisory lock. PostgreSQL shows the first columns of a session to everybody.
#
# A leader that hangs keeps its lock; its heartbeat tells. While its session works on a query the leader waits for the
# answer, however long that takes, and just afterwards it had no time to say so. A session that waits for its client to
# take an answer does not work.
HOLDER = """
SELECT
    holder.pid,
    coalesce(session.application_name, ''),
    coalesce(session.usename, ''),
    coalesce(
        cursor.heartbeat_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s::float8)
        AND (session.state_change >= clock_timestamp() - make_interval(secs => %(stale_seconds)s::float8)) IS NOT TRUE
        AND (session.state = 'active' AND session.wait_event_type IS DISTINCT FROM 'Client') IS NOT TRUE,
        false
    ),
    cursor.hindrance IS NOT NULL
FROM pg_locks AS holder
LEFT JOIN pg_stat_activity AS session ON session.pid = holder.pid
LEFT JOIN public.publisher_cursor AS cursor ON cursor.stream = %(stream)s
WHERE
    holder.locktype = 'advisory'
    AND holder.granted
    AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (holder.classid::bigint << 32) | holder.objid::bigint = hashtextextended('imi publisher ' || %(stream)s, 0)
    AND holder.objsubid = 1
"""

PUBLISHER = "imi-registry"
"""How the connections of publishers are called, first of all (`publisher/part.py`)."""


async def try_lock(conn: AsyncConnection, stream: str) -> bool:
    """Keep publishers of `stream` from leading as long as `conn` lives; False when one leads. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(TRY_LOCK, {"stream": stream})).fetchone()
    return row is not None and bool(row[0])


class Holder(NamedTuple):
    """Whose session keeps the lock of a stream, and so the lead."""

    session: Session
    is_stale: bool
    """Whether the publisher that led last was not heard for too long."""
    is_hindered: bool
    """Whether it says that it cannot publish now."""

    @property
    def is_publisher(self) -> bool:
        """Whether it calls itself one."""
        return self.session.application.startswith(PUBLISHER)

    def __str__(self) -> str:
        return str(self.session)


async def holder_of_lead(conn: AsyncConnection, stream: str, stale_seconds: float) -> Holder | None:
    """Who keeps others from publishing to `stream`; None when nobody does. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(HOLDER, {"stream": stream, "stale_seconds": stale_seconds})).fetchone()
    if row is None:
        return None
    pid, application, user, is_stale, is_hindered = row
    return Holder(Session(pid, application, user), is_stale, is_hindered)


def stranger_leads(holder: Holder, stream: str) -> str:
    """What to say of a holder that is no publisher: then nothing is published."""
    return f"{holder} holds the lock of the publisher of stream {stream} and is none: end that session"


async def end_if_hanging(conn: AsyncConnection, holder: Holder | None) -> None:
    """Take the lead from a publisher that was not heard for too long. Raises `Unavailable`."""
    if holder is not None and holder.is_stale and holder.is_publisher:
        await end_session(conn, holder)


async def end_session(conn: AsyncConnection, holder: Holder) -> None:
    """Take the lead from a publisher that hangs, or cannot publish.

    It keeps its lock. It loses its connection, and with it the lock, for the next attempt. Raises `Unavailable`.
    """
    try:
        with translated():
            await conn.execute("SELECT pg_terminate_backend(%s)", [holder.session.pid])
    except Unprepared as error:
        why = "hangs" if holder.is_stale else "cannot publish"
        raise Unprepared(f"publisher {holder} {why}, and its session cannot be ended: {error}") from error


async def try_lead(conn: AsyncConnection, stream: str, leader: str) -> Cursor | None:
    """Become the one publisher of `stream`, or None while somebody else has the lead: `holder_of_lead` tells who.

    The cursor returned carries a new epoch: whoever led before can no longer move it.
    """
    if not await try_lock(conn, stream):
        return None
    with translated():
        async with conn.transaction():
            await conn.execute("SET LOCAL synchronous_commit = on")
            await conn.execute(
                "INSERT INTO public.publisher_cursor (stream) VALUES (%(stream)s) ON CONFLICT DO NOTHING",
                {"stream": stream},
            )
            row = await (await conn.execute(LEAD, {"stream": stream, "leader": leader})).fetchone()
    if row is None:
        raise Deposed(f"the cursor of stream {stream} was removed")
    published, stream_sequence, epoch, transaction_id, dead_ids, hindrance = row
    return Cursor(
        stream,
        _ranges(published),
        stream_sequence,
        epoch,
        transaction_id,
        dead_ids=dead_ids,
        hindrance=hindrance,
    )


def _ranges(multirange: Multirange[int]) -> RangeSet:
    """psycopg's multirange of int8 as a `RangeSet`; PostgreSQL keeps these in the form [low, high)."""
    return RangeSet(
        (part.lower, part.upper) for part in multirange if part.lower is not None and part.upper is not None
    )
