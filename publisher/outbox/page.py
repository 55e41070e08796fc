"""The next page of the outbox: what one snapshot shows of it. Why the rules hold: docs/adr/0001-outbox-and-relay.md."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple, Self

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
# What is true of the snapshot comes in a row of its own, before the events, with the id 0: not a thousand times.
PAGE = (
    """
WITH progress AS MATERIALIZED (
    SELECT
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
        coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) AS allocated,
        pg_current_wal_insert_lsn() AS written,
        pg_current_wal_flush_lsn() AS flushed,
        extract(epoch FROM clock_timestamp())::float8 AS read_at,
        CASE WHEN %(is_survey)s THEN pg_current_snapshot()::text END AS snapshot,
        ARRAY(
            SELECT watched::text::bigint
            FROM unnest(%(watched)s::xid8[]) AS watched
            WHERE pg_visible_in_snapshot(watched, pg_current_snapshot())
        ) AS ended
)
SELECT
    progress.oldest_running,
    progress.allocated,
    CASE
        WHEN progress.flushed < progress.written OR current_setting('synchronous_standby_names') <> ''
            THEN progress.written::text
    END,
    progress.snapshot,
    progress.ended,
    progress.read_at,
"""  # noqa: S608  # constants
    + ", ".join(["0", *["NULL"] * (len(OutboxRow._fields) - 2)])
    + """
FROM progress
UNION ALL
SELECT
    NULL, NULL, NULL, NULL, NULL, NULL,
"""
    + COLUMNS
    + """
FROM progress
CROSS JOIN LATERAL (
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
) event
WHERE progress.ended = '{}'
"""
)

PROGRESS = 6
"""Columns of `PAGE` before those of an `OutboxRow`."""

# Where there are synchronous standbys, only a commit that waits for them tells that they have it, too.
IS_FLUSHED = """
SELECT
    current_setting('synchronous_standby_names') = ''
    AND pg_current_wal_flush_lsn() >= %(position)s::text::pg_lsn
"""

# One statement, which commits: what it writes makes the commit wait for the disk, and for a synchronous standby.
FLUSH = """
SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'imi-registry', '')
"""


SHORT_BYTES = 4096


class Unseen(NamedTuple):
    """Which rows a page is asked for."""

    gaps: Sequence[tuple[int, int]]
    """Ranges of ids, ascending."""
    above: int
    """And all ids from here on."""
    end: int | None = None
    """The first id that was left out although a row may be there; None when no such was."""
    watched: tuple[int, ...] = ()
    """Transactions that were running. While all of them are, no row can be where else this does not look."""
    is_survey: bool = False
    """Whether the page is to tell which transactions are running."""

    @classmethod
    def outside(cls, seen: RangeSet) -> Self:
        """Everything that is not in `seen`."""
        return cls(seen.gaps(), seen.upper)

    def values(self, limit: int) -> dict[str, object]:
        """The parameters of `PAGE`."""
        return {
            "gaps": multirange(self.gaps),
            "above": Int8(self.above),
            "watched": "{" + ",".join(map(str, self.watched)) + "}",
            "is_survey": self.is_survey,
            "limit": Int8(limit),
        }


class Snapshot(NamedTuple):
    """Which transactions a snapshot shows as running."""

    running: tuple[int, ...]
    """Ids of transactions below `end`, ascending; no others below it are running."""
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """A `pg_snapshot` in PostgreSQL's text form: `xmin:xmax:xip,xip…`."""
        _, end, running = text.split(":")
        return cls(tuple(int(id_) for id_ in running.split(",") if id_), int(end))


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
    """Position in the WAL up to which it must be on disk, and on synchronous standbys, for all rows to outlive a crash
    or a failover; None when it is."""
    snapshot: Snapshot | None = None
    """When the page was a survey."""
    ended: tuple[int, ...] = ()
    """Those of the watched transactions that have ended: rows may be where this did not look, so it has none."""
    asked_end: int | None = None
    """Of `Unseen`."""
    read_at: float = 0.0
    """By PostgreSQL's clock, in seconds since 1970."""

    @property
    def end(self) -> int | None:
        """All visible rows with ids before this are here, or were seen before; None when it looked at all ids."""
        return self.rows[-1].id + 1 if self.is_full else self.asked_end


async def next_page(conn: AsyncConnection, unseen: Unseen, limit: int, short_bytes: int = SHORT_BYTES) -> Page:
    """Read up to `limit` visible rows of those that are `unseen`, lowest id first, in one snapshot.

    Those whose data has at most `short_bytes` bytes have it; `with_data` reads that of the others, which later
    snapshots show unchanged, since rows of the outbox never change. Raises `Unavailable` when the connection is lost:
    the caller must give up leadership.
    """
    found = await fetch(conn, PAGE, unseen.values(limit), short_bytes)
    found.sort(key=itemgetter(PROGRESS))  # they are sorted; a query without ORDER BY does not promise it
    oldest_running, allocated, flush_needed, snapshot, ended, read_at = found[0][:PROGRESS]
    rows = [OutboxRow(*row[PROGRESS:]) for row in found[1:]]
    return Page(
        rows,
        len(rows) == limit,
        oldest_running,
        allocated,
        flush_needed,
        Snapshot.parse(snapshot) if snapshot else None,
        tuple(ended),
        unseen.end,
        read_at,
    )


async def flush(conn: AsyncConnection, position: str) -> None:
    """Return when the WAL up to `position` is on disk, and on synchronous standbys. Raises `Unavailable`.

    Those who commit, and the WAL writer, have mostly written it meanwhile; else a commit of our own does.
    """
    with translated():
        row = await (await conn.execute(IS_FLUSHED, {"position": position})).fetchone()
        if row is None or not row[0]:
            await conn.execute(FLUSH)
