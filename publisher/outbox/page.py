"""The next page of the outbox: what one snapshot shows of it. Why the rules hold: docs/adr/0001-outbox-and-relay.md."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from publisher.outbox.connection import translated
from publisher.outbox.ranges import RangeSet, multirange
from publisher.outbox.rows import COLUMNS
from registry.events.message import OutboxRow

# One statement, hence one snapshot: the ids that are visible, and the transactions that were running, belong together.
# `allocated` is read while it runs, so after the doorbell was set and, at the latest, together with the rows. Not from
# the sequence as a table: that shows ids 32 ahead while a writer logs the next 32, and they would be taken for dead.
PAGE = (
    """
WITH progress AS MATERIALIZED (
    SELECT
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
        coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) AS allocated
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
) event ON true
ORDER BY event.id
"""
)


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
