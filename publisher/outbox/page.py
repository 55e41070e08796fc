"""The next page of the outbox: what one snapshot shows of it. Why the rules hold: docs/adr/0001-outbox-and-relay.md."""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from publisher.outbox.connection import translated
from publisher.outbox.ranges import RangeSet, multirange
from publisher.outbox.rows import COLUMNS, SHORT_DATA, fetch
from registry.events.message import OutboxRow

# One statement, hence one snapshot: the ids that are visible, and the transactions that were running, belong together.
# `allocated` is read while it runs, so after the doorbell was set and, at the latest, together with the rows. Not from
# the sequence as a table: that shows ids 32 ahead while a writer logs the next 32, and they would be taken for dead.
# Above the LIMIT nothing sorts or keeps rows: their data becomes text one row at a time, on its way to the client.
PAGE = (
    """
WITH progress AS MATERIALIZED (
    SELECT
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
        coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) AS allocated,
        pg_current_wal_insert_lsn() AS written,
        pg_current_wal_flush_lsn() AS flushed
)
SELECT
    progress.oldest_running,
    progress.allocated,
    CASE WHEN progress.flushed < progress.written THEN progress.written::text END,
"""  # noqa: S608  # constants
    + COLUMNS
    + """
FROM progress
LEFT JOIN LATERAL (
    SELECT
        event.*,
"""
    + SHORT_DATA
    + """
    FROM (
        (
            SELECT inside.*
            FROM unnest(%(gaps)s::int8multirange) AS gap (range)
            CROSS JOIN LATERAL (
                SELECT *
                FROM public.outbox
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
            FROM public.outbox
            WHERE id >= %(above)s
            ORDER BY id
            LIMIT %(limit)s
        )
        ORDER BY id
        LIMIT %(limit)s
    ) event
    OFFSET 0
) event ON true
"""
)

IS_FLUSHED = "SELECT pg_current_wal_flush_lsn() >= %(position)s::text::pg_lsn"

# One statement, which commits: what it writes makes the commit wait for the disk, and for a synchronous standby.
FLUSH = """
SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'imi-registry', '')
"""


SHORT_BYTES = 4096


class Page(NamedTuple):
    """What one snapshot of the outbox shows."""

    rows: list[OutboxRow]
    """Unpublished rows, ascending by id; only those with little data have it."""
    is_full: bool
    """More rows may be visible above the last one."""
    oldest_running: int
    """Every transaction with a lower id has ended, and its rows are visible to this snapshot or never will be."""
    allocated: int
    """Highest outbox id handed out so far, visible or not; 0 when none was."""
    flush_needed: str | None = None
    """Position in the WAL up to which it must be on disk for all rows to outlive a crash; None when it is."""


async def next_page(conn: AsyncConnection, seen: RangeSet, limit: int, short_bytes: int = SHORT_BYTES) -> Page:
    """Read up to `limit` visible rows whose ids are not in `seen`, lowest id first, in one snapshot.

    Those whose data has at most `short_bytes` bytes have it; `with_data` reads that of the others, which later
    snapshots show unchanged, since rows of the outbox never change. Raises `Unavailable` when the connection is lost:
    the caller must give up leadership.
    """
    values = {"gaps": multirange(seen.gaps()), "above": Int8(seen.upper), "limit": Int8(limit)}
    found = await fetch(conn, PAGE, values, short_bytes)
    oldest_running, allocated, flush_needed = found[0][:3]
    rows = [OutboxRow._make((*row[3:], None)) for row in found] if found[0][3] is not None else []
    rows.sort(key=itemgetter(0))  # they are sorted; a query without ORDER BY does not promise it
    return Page(rows, len(rows) == limit, oldest_running, allocated, flush_needed)


async def flush(conn: AsyncConnection, position: str) -> None:
    """Return when the WAL up to `position` is on disk. Raises `Unavailable`.

    Those who commit, and the WAL writer, have mostly written it meanwhile; else a commit of our own does.
    """
    with translated():
        row = await (await conn.execute(IS_FLUSHED, {"position": position})).fetchone()
        if row is None or not row[0]:
            await conn.execute(FLUSH)
