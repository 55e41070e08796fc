"""The outbox as the publisher reads it: the next page, the cursor of one stream, the doorbell, leadership.

Everything here runs on the leader's one direct connection. Why the rules hold: docs/adr/0001-outbox-and-relay.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.types.multirange import Multirange
from psycopg.types.numeric import Int8

from publisher.outbox.ranges import RangeSet, multirange, range_array, runs
from registry.database.pool import whole
from registry.errors import RegistryError, from_database
from registry.events.envelope import OutboxRow

CHANNEL = "imi_outbox"

# A dead peer is noticed within about ten seconds, whatever the network does with the packets.
KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}

# Each page is one index range scan per range. Under JIT the same query took 110 ms instead of 0.1 ms; a plan that sorts
# or scans the table is never better. A cursor update that a crash of PostgreSQL loses is found again in the stream.
SESSION = """
SET jit = off;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET synchronous_commit = off;
SET timezone = 'UTC';
SET idle_in_transaction_session_timeout = 0;
SET idle_session_timeout = 0;
SET statement_timeout = 0;
"""

# An `OutboxRow` of the row `event`.
COLUMNS = """
    event.id,
    event.transaction_id::text::bigint,
    event.event_id::text,
    event.entity,
    event.action,
    event.project_id::text,
    event.entity_id::text,
    to_char(event.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    event.actor,
    event.correlation_id::text,
    event.causation_id::text,
    event.traceparent,
    event.data::text
"""

# One statement, hence one snapshot: the ids that are visible, and the transactions that were running, belong together.
# `allocated` is read while it runs, so after the doorbell was set and, at the latest, together with the rows. Not from
# the sequence as a table: that shows ids 32 ahead while a writer logs the next 32, and they would be taken for dead.
PAGE = (
    """
WITH progress AS MATERIALIZED (
    SELECT
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
        coalesce(pg_sequence_last_value('outbox_id_seq'), 0) AS allocated
)
SELECT
    progress.oldest_running,
    progress.allocated,
"""  # noqa: S608  # constants
    + COLUMNS
    + """
FROM progress
LEFT JOIN LATERAL (
    (
        SELECT inside.*
        FROM unnest(%(gaps)s::int8multirange) AS gap (range)
        CROSS JOIN LATERAL (
            SELECT *
            FROM outbox
            WHERE id >= lower(gap.range) AND id < upper(gap.range)
            ORDER BY id
            LIMIT %(limit)s
        ) inside
        ORDER BY inside.id
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT *
        FROM outbox
        WHERE id >= %(above)s
        ORDER BY id
        LIMIT %(limit)s
    )
    ORDER BY id
    LIMIT %(limit)s
) event ON true
ORDER BY event.id
"""
)

LEAD = """
UPDATE publisher_cursor
SET epoch = epoch + 1, heartbeat_at = clock_timestamp(), leader = %(leader)s
WHERE stream = %(stream)s
RETURNING published, stream_sequence, epoch, pg_current_xact_id()::text::bigint
"""

# The cursor and the record of what it moved over are one statement: neither is ever ahead of the other.
ADVANCE = """
WITH moved AS (
    UPDATE publisher_cursor
    SET
        published = %(published)s::int8multirange,
        stream_sequence = %(stream_sequence)s,
        heartbeat_at = clock_timestamp()
    WHERE stream = %(stream)s AND epoch = %(epoch)s
    RETURNING pg_current_xact_id()::text::bigint AS transaction_id
), recorded AS (
    INSERT INTO published_batch (stream, last_sequence, ids)
    SELECT %(stream)s, batch.last_sequence, batch.ids::int8range[]
    FROM moved
    CROSS JOIN unnest(%(last_sequences)s::bigint[], %(ids)s::text[]) AS batch (last_sequence, ids)
    ON CONFLICT (stream, last_sequence) DO UPDATE SET ids = EXCLUDED.ids
)
SELECT transaction_id FROM moved
"""

FORGET_BEYOND = "DELETE FROM published_batch WHERE stream = %(stream)s AND last_sequence > %(stream_sequence)s"

# The lock's number is taken from the stream's name, so that each stream fed from this database has its own leader.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('imi publisher ' || %(stream)s, 0))"

# A leader that hangs keeps its lock; its heartbeat tells. Ending its connection is what frees the lock.
DEPOSE = """
SELECT pg_terminate_backend(holder.pid)
FROM publisher_cursor AS cursor
JOIN pg_locks AS holder
    ON holder.locktype = 'advisory'
    AND holder.granted
    AND holder.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (holder.classid::bigint << 32) | holder.objid::bigint = hashtextextended('imi publisher ' || cursor.stream, 0)
    AND holder.objsubid = 1
WHERE cursor.stream = %(stream)s AND cursor.heartbeat_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s)
"""

KNOWN = """
SELECT known.event_id::text
FROM unnest(%(ids)s::bigint[], %(event_ids)s::uuid[]) AS known (id, event_id)
JOIN outbox USING (id, event_id)
"""


class Deposed(RegistryError):
    """Another publisher leads this stream now; what this one knows is out of date."""


class Batch(NamedTuple):
    """Events that stand in the stream one behind the other."""

    last_sequence: int
    ids: list[int]
    """Their outbox ids, in the order of the stream."""


@dataclass
class Cursor:
    """How far one stream is: outbox ids that are in it or never will be, and its last known sequence."""

    stream: str
    published: RangeSet
    stream_sequence: int
    epoch: int
    transaction_id: int
    """Id of the transaction that wrote the cursor last: every outbox id seen before it has an older owner."""
    unrecorded: list[Batch] = field(default_factory=list)
    """What is in the stream and goes into the record when the cursor is stored next."""


class Page(NamedTuple):
    """What one snapshot of the outbox shows."""

    rows: list[OutboxRow]
    """Unpublished rows, ascending by id."""
    is_full: bool
    """More rows may be visible above the last one."""
    oldest_running: int
    """Every transaction with a lower id has ended, and its rows are visible to this snapshot or never will be."""
    allocated: int
    """Highest outbox id handed out so far, visible or not; 0 when none was."""


@asynccontextmanager
async def connect(database_url: str, name: str) -> AsyncIterator[AsyncConnection]:
    """The publisher's own connection, set up for its queries. Raises `Unavailable`."""
    try:
        conn = await whole(
            AsyncConnection.connect(
                database_url, autocommit=True, application_name=name[:63], prepare_threshold=0, **KEEPALIVE
            )
        )
    except psycopg.Error as error:
        raise from_database(error) from error
    async with conn:
        with translated():
            await conn.execute(SESSION, prepare=False)
        yield conn


@contextmanager
def translated() -> Iterator[None]:
    """Raise what psycopg raises inside the block as an error of `registry/errors.py`."""
    try:
        yield
    except psycopg.Error as error:
        raise from_database(error) from error


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
                "INSERT INTO publisher_cursor (stream) VALUES (%(stream)s) ON CONFLICT DO NOTHING",
                {"stream": stream},
            )
            row = await (await conn.execute(LEAD, {"stream": stream, "leader": leader})).fetchone()
    if row is None:
        raise Deposed(f"the cursor of stream {stream} was removed")
    published, stream_sequence, epoch, transaction_id = row
    return Cursor(stream, _ranges(published), stream_sequence, epoch, transaction_id)


async def advance(conn: AsyncConnection, cursor: Cursor) -> None:
    """Store `cursor`, which is also the leader's heartbeat, and record in which order its events were published.

    Raises `Deposed` when another epoch has begun.
    """
    values = {
        "published": cursor.published.as_multirange(),
        "stream_sequence": cursor.stream_sequence,
        "stream": cursor.stream,
        "epoch": cursor.epoch,
        "last_sequences": [batch.last_sequence for batch in cursor.unrecorded],
        "ids": [range_array(runs(batch.ids)) for batch in cursor.unrecorded],
    }
    with translated():
        row = await (await conn.execute(ADVANCE, values)).fetchone()
    if row is None:
        raise Deposed(f"stream {cursor.stream}: epoch {cursor.epoch} is over, another publisher leads")
    cursor.transaction_id = row[0]
    cursor.unrecorded.clear()


async def forget_beyond(conn: AsyncConnection, cursor: Cursor) -> None:
    """Remove the record of what lies beyond `cursor`, as after a cursor that was set back: the tail tells it again."""
    with translated():
        await conn.execute(FORGET_BEYOND, {"stream": cursor.stream, "stream_sequence": cursor.stream_sequence})


async def next_page(conn: AsyncConnection, seen: RangeSet, limit: int) -> Page:
    """Read up to `limit` visible rows whose ids are not in `seen`, lowest id first, in one snapshot.

    Raises `Unavailable` when the connection is lost: the caller must give up leadership.
    """
    with translated():
        cursor = conn.cursor(binary=True)
        await cursor.execute(PAGE, {"gaps": multirange(seen.gaps()), "above": Int8(seen.upper), "limit": Int8(limit)})
        found = await cursor.fetchall()
    oldest_running, allocated = found[0][:2]
    rows = [OutboxRow._make(row[2:]) for row in found] if found[0][2] is not None else []
    return Page(rows, len(rows) == limit, oldest_running, allocated)


async def known_events(conn: AsyncConnection, pairs: Iterable[tuple[int, str]]) -> set[str]:
    """Those event ids of (outbox id, event id) `pairs` that this database's outbox holds under the same outbox id."""
    ids, event_ids = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
    with translated():
        found = await conn.execute(KNOWN, {"ids": list(ids), "event_ids": list(event_ids)})
        return {row[0] for row in await found.fetchall()}


async def set_doorbell(conn: AsyncConnection, *, is_armed: bool) -> None:
    """While the doorbell is armed, each transaction that writes an event notifies `CHANNEL` as it commits."""
    with translated():
        await conn.execute("SELECT setval('publisher_doorbell', %s)", [int(is_armed)])


async def listen(conn: AsyncConnection) -> None:
    """Receive the notifications that an armed doorbell causes."""
    with translated():
        await conn.execute(f"LISTEN {CHANNEL}")


async def wait_for_ring(conn: AsyncConnection, timeout_seconds: float) -> bool:
    """Wait until the doorbell rings: True; or for `timeout_seconds`: False. Raises `Unavailable`.

    psycopg wakes ten times a second while it waits for notifications, so it is asked only when there is something.
    """
    with translated():
        if not (rings := await _arrived(conn)) and await _is_readable(conn, timeout_seconds):
            rings = await _arrived(conn)
    return rings


async def _arrived(conn: AsyncConnection) -> bool:
    return bool([ring async for ring in conn.notifies(timeout=0, stop_after=1)])


async def _is_readable(conn: AsyncConnection, timeout_seconds: float) -> bool:
    """Whether the server said something, or closed the connection, within `timeout_seconds`."""
    loop, socket, readable = asyncio.get_running_loop(), conn.fileno(), asyncio.Event()
    loop.add_reader(socket, readable.set)
    try:
        async with asyncio.timeout(timeout_seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(socket)
    return True


def _ranges(multirange: Multirange[int]) -> RangeSet:
    """psycopg's multirange of int8 as a `RangeSet`; PostgreSQL keeps these in the form [low, high)."""
    return RangeSet(
        (part.lower, part.upper) for part in multirange if part.lower is not None and part.upper is not None
    )
