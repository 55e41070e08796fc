"""Leadership: one publisher of a stream at a time, behind an advisory lock and the epoch of the cursor."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.multirange import Multirange

from publisher.outbox.connection import translated
from publisher.outbox.cursor import Cursor
from publisher.outbox.ranges import RangeSet
from publisher.outbox.taking_on import by_any_role
from registry.database.blockers import Session
from registry.errors import Unprepared
from registry.log import log

LEAD = """
UPDATE public.publisher_cursor AS cursor
SET epoch = epoch + 1, heartbeat_at = clock_timestamp(), leader = %(leader)s
WHERE stream = %(stream)s AND lock_number = %(number)s
RETURNING
    public.published_ids(cursor), stream_sequence, epoch, pg_current_xact_id()::text::bigint, dead_ids, hindrance,
    withheld
"""

# The lock's key is taken from the stream's name, so that each stream fed from this database has its own leader, and
# from a number: whoever may connect may hold any advisory lock, and another number is a lock that he does not hold.
NUMBER = "coalesce((SELECT lock_number FROM public.publisher_cursor WHERE stream = %(stream)s), 0)"
KEY = "hashtextextended('imi publisher ' || %(stream)s || CASE number WHEN 0 THEN '' ELSE ' ' || number END, 0)"
TRY_LOCK = f"SELECT number, pg_try_advisory_lock({KEY}) FROM (SELECT {NUMBER} AS number OFFSET 0) AS lock"  # noqa: S608  # of constants
LOCK = f"SELECT pg_advisory_lock({KEY}) FROM (SELECT %(new_number)s::bigint AS number) AS lock"  # noqa: S608  # of constants
RENUMBER = """
UPDATE public.publisher_cursor
SET lock_number = %(new_number)s
WHERE stream = %(stream)s AND lock_number = %(number)s
"""

# Where a cursor is gone, as with its table, the record tells what was published (dead ids are found again). The stream
# does not: all that it has lost to its limits would be published once more.
BEGIN = """
INSERT INTO public.publisher_cursor (stream, stream_sequence, forgotten_sequence)
SELECT
    %(stream)s,
    coalesce(newest.last_sequence, 0),
    coalesce(
        oldest.last_sequence - (SELECT sum(upper(part) - lower(part)) FROM unnest(oldest.ids) AS part),
        0
    )
FROM (SELECT) AS nothing
LEFT JOIN LATERAL (
    SELECT last_sequence
    FROM public.published_batch
    WHERE stream = %(stream)s
    ORDER BY last_sequence DESC
    LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT last_sequence, ids
    FROM public.published_batch
    WHERE stream = %(stream)s
    ORDER BY last_sequence
    LIMIT 1
) AS oldest ON true
ON CONFLICT DO NOTHING
RETURNING stream_sequence
"""

MAY_PUBLISH = by_any_role("session.usesysid", "has_table_privilege(own.oid, 'public.publisher_cursor', 'UPDATE')")

# PostgreSQL shows the first columns of a session to everybody. Who may not move the cursor never led.
#
# A leader that hangs keeps its lock; its heartbeat tells. While its session works on a query the leader waits for the
# answer, however long that takes, and just afterwards it had no time to say so. A session that waits for its client to
# take an answer does not work. What is of the future is of before the clock was set back, and says nothing.
HOLDER = f"""
SELECT
    coalesce(holder.pid, 0),
    coalesce(session.application_name, ''),
    coalesce(session.usename, ''),
    coalesce(
        abs(extract(epoch FROM clock_timestamp() - cursor.heartbeat_at)) > %(stale_seconds)s::float8
        AND (abs(extract(epoch FROM clock_timestamp() - session.state_change)) <= %(stale_seconds)s::float8) IS NOT TRUE
        AND (session.state = 'active' AND session.wait_event_type IS DISTINCT FROM 'Client') IS NOT TRUE,
        false
    ),
    cursor.hindrance IS NOT NULL,
    {MAY_PUBLISH},
    number
FROM (SELECT {NUMBER} AS number) AS lock
CROSS JOIN pg_locks AS holder
LEFT JOIN pg_stat_activity AS session ON session.pid = holder.pid
LEFT JOIN public.publisher_cursor AS cursor ON cursor.stream = %(stream)s
WHERE
    holder.locktype = 'advisory'
    AND holder.granted
    AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (holder.classid::bigint << 32) | holder.objid::bigint = {KEY}
    AND holder.objsubid = 1
"""  # noqa: S608  # of constants

PUBLISHER = "imi-registry"
"""How the connections of publishers are called, first of all (`publisher/part.py`)."""


async def try_lock(conn: AsyncConnection, stream: str) -> int | None:
    """Keep publishers of `stream` from leading as long as `conn` lives; None when one leads. Raises `Unavailable`.

    Returns the number of the lock that is held.
    """
    with translated():
        row = await (await conn.execute(TRY_LOCK, {"stream": stream})).fetchone()
    number, is_held = row or (0, False)
    return int(number) if is_held else None


class Holder(NamedTuple):
    """Whose session keeps the lock of a stream, and so the lead."""

    stream: str
    session: Session
    is_stale: bool
    """Whether the publisher that led last was not heard for too long."""
    is_hindered: bool
    """Whether it says that it cannot publish now."""
    may_publish: bool
    """Whether it may move the cursor at all."""
    lock_number: int

    @property
    def is_publisher(self) -> bool:
        """Whether it calls itself one, and may be: anybody may call himself so."""
        return self.may_publish and self.session.application.startswith(PUBLISHER)

    def __str__(self) -> str:
        return str(self.session)


async def holder_of_lead(conn: AsyncConnection, stream: str, stale_seconds: float) -> Holder | None:
    """Who keeps others from publishing to `stream`; None when nobody does. Raises `Unavailable`."""
    with translated():
        row = await (await conn.execute(HOLDER, {"stream": stream, "stale_seconds": stale_seconds})).fetchone()
    if row is None:
        return None
    pid, application, user, *rest = row
    return Holder(stream, Session(pid, application, user), *rest)


def stranger_leads(holder: Holder, stream: str) -> str:
    """What to say of a holder that is no publisher: then nothing is published."""
    return f"{holder} holds the lock of the publisher of stream {stream} and is none: end that session"


async def end_if_hanging(conn: AsyncConnection, holder: Holder | None) -> None:
    """Take the lock from a publisher that was not heard for too long, and from somebody who may not publish at all.

    The next attempt is to lead. Raises `Unavailable`.
    """
    if holder is None:
        return
    if not holder.may_publish:
        _tell_of(holder)
        await _leave_behind(conn, holder)
    elif holder.is_stale and holder.is_publisher:
        await end_session(conn, holder)


async def end_session(conn: AsyncConnection, holder: Holder) -> None:
    """Take the lock from a publisher that hangs, or cannot publish; the next attempt is to lead.

    It loses its connection, where this user may end it, and is left behind with the old lock in any case: it may be
    back at once, and others may wait for that. Raises `Unavailable`.
    """
    try:
        with translated():
            await conn.execute("SELECT pg_terminate_backend(%s)", [holder.session.pid])
    except Unprepared:
        _tell_of(holder)
    await _leave_behind(conn, holder)


def _tell_of(holder: Holder) -> None:
    """Say who holds the lock and cannot be ended, or is not to be."""
    log.warning("the publisher uses another lock", stream=holder.stream, held_by=str(holder))


async def _leave_behind(conn: AsyncConnection, holder: Holder) -> None:
    """Give the lock another number, with which `conn` holds it before anybody else can know it.

    `holder` keeps the old one, and if it led with that, it is fenced by the epoch.
    """
    new_number = secrets.randbelow(2**62) + 1
    values = {"stream": holder.stream, "number": holder.lock_number, "new_number": new_number}
    with translated():
        await conn.execute(LOCK, values)
        await conn.execute(BEGIN, {"stream": holder.stream})
        await conn.execute(RENUMBER, values)


async def try_lead(conn: AsyncConnection, stream: str, leader: str) -> Cursor | None:
    """Become the one publisher of `stream`, or None while somebody else has the lead: `holder_of_lead` tells who.

    The cursor returned carries a new epoch: whoever led before can no longer move it.
    """
    number = await try_lock(conn, stream)
    if number is None:
        return None
    with translated():
        async with conn.transaction():
            await conn.execute("SET LOCAL synchronous_commit = on")
            begun = await (await conn.execute(BEGIN, {"stream": stream})).fetchone()
            values = {"stream": stream, "leader": leader, "number": number}
            row = await (await conn.execute(LEAD, values)).fetchone()
        if row is None:  # the lock has another number meanwhile
            await conn.execute("SELECT pg_advisory_unlock_all()")
            return None
    if begun is not None and begun[0]:
        log.warning("the cursor was gone: it begins anew from the record", stream=stream, stream_sequence=begun[0])
    published, stream_sequence, epoch, transaction_id, dead_ids, hindrance, withheld = row
    return Cursor(
        stream,
        _ranges(published),
        stream_sequence,
        epoch,
        transaction_id,
        dead_ids=dead_ids,
        hindrance=hindrance,
        withheld=withheld,
    )


def _ranges(multirange: Multirange[int]) -> RangeSet:
    """psycopg's multirange of int8 as a `RangeSet`; PostgreSQL keeps these in the form [low, high)."""
    return RangeSet(
        (part.lower, part.upper) for part in multirange if part.lower is not None and part.upper is not None
    )
