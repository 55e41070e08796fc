"""The record of what was published, in its order: `published_batch` with the rows of the outbox that it names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.outbox.cursor import Batch
from publisher.outbox.rows import COLUMNS, SHORT_DATA, WHOLE_BYTES, fetch, with_data
from registry.errors import NotFound
from registry.events.filter import EventFilter
from registry.events.message import OutboxRow
from registry.position import Position

SCAN = 2000
"""Places looked at in one go."""
READ_ROWS = 500
"""Rows read in one go."""
READ_BYTES = 4 * 1024 * 1024
"""Data that is read in one go; a row with more than its share of it is read alone."""

BATCHES = """
SELECT last_sequence, ids
FROM public.published_batch
WHERE stream = %(stream)s AND last_sequence >= %(sequence)s
ORDER BY last_sequence
LIMIT 200
"""

ROWS = (
    "SELECT"
    + COLUMNS
    + """
FROM (
    SELECT
        event.*,
"""
    + SHORT_DATA
    + """
    FROM public.outbox AS event
    WHERE
        event.id = ANY(%(ids)s::bigint[])
        AND (%(entity)s::text IS NULL OR event.entity = %(entity)s)
        AND (%(action)s::text IS NULL OR event.action = %(action)s)
        AND (%(project_id)s::uuid IS NULL OR event.project_id = %(project_id)s)
        AND (%(correlation_id)s::uuid IS NULL OR coalesce(event.correlation_id, event.event_id) = %(correlation_id)s)
        AND (%(host_id)s::uuid IS NULL OR coalesce(event.host_id, public.default_host_id()) = %(host_id)s)
        AND (%(since)s::timestamptz IS NULL OR event.occurred_at >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR event.occurred_at < %(until)s)
    OFFSET 0
) AS event
"""
)

STATE = """
SELECT
    stream_sequence,
    forgotten_sequence,
    %(outbox_id)s > 0 AND (
        published @> %(outbox_id)s::bigint OR public.published_ids(cursor) @> %(outbox_id)s::bigint
    )
FROM public.publisher_cursor AS cursor
WHERE stream = %(stream)s
"""


class Place(NamedTuple):
    """Where an event stands in the stream."""

    sequence: int
    outbox_id: int
    batch: int
    """Sequence of the last event of the batch it was published in."""


class State(NamedTuple):
    """How far the record of a stream reaches."""

    last: int
    """Sequence of the last event the cursor knows of."""
    forgotten: int
    """Events up to this sequence were removed by retention; 0 when none were."""
    is_published: bool
    """Whether the outbox id asked for is published."""


async def state(conn: AsyncConnection, stream: str, outbox_id: int = 0) -> State:
    """How far the record reaches. Raises `NotFound` when nothing was ever published to `stream`, `Unavailable`."""
    with translated():
        row = await (await conn.execute(STATE, {"stream": stream, "outbox_id": outbox_id})).fetchone()
    if row is None:
        raise NotFound(f"this database has published nothing to stream {stream}")
    return State(*row)


async def places(conn: AsyncConnection, stream: str, after: Position, before: Position) -> list[Place]:
    """The first places between two positions that are not among them, whole batches, `SCAN` or somewhat more."""
    found: list[Place] = []
    sequence = after.sequence
    while len(found) < SCAN:
        with translated():
            rows = await (await conn.execute(BATCHES, {"stream": stream, "sequence": sequence})).fetchall()
        for last_sequence, ranges in rows:
            batch = Batch(last_sequence, [id_ for part in ranges for id_ in range(part.lower, part.upper)])
            found += _between(batch, after, before)
            if last_sequence >= before.sequence or len(found) >= SCAN:
                return found
        if not rows:
            return found
        sequence = rows[-1][0] + 1
    return found


async def rows(
    conn: AsyncConnection, ids: Sequence[int], wanted: EventFilter, max_bytes: int
) -> AsyncGenerator[OutboxRow, None]:
    """Those outbox rows of `ids` that there are and that match, as far as SQL tells (it does not look into data).

    In the order of `ids`, with their data, or an omission where that has more than `max_bytes` or cannot be read.
    However many there are, not much more than `READ_BYTES` and one row are in memory.
    """
    values = {
        "entity": wanted.entity,
        "action": wanted.action,
        "project_id": wanted.project_id,
        "correlation_id": wanted.correlation_id,
        "host_id": wanted.host_id,
        "since": wanted.since,
        "until": wanted.until,
    }
    for start in range(0, len(ids), READ_ROWS):
        some = ids[start : start + READ_ROWS]
        found = await fetch(conn, ROWS, values | {"ids": list(some)}, READ_BYTES // READ_ROWS)
        known = {row[0]: OutboxRow(*row) for row in found}
        for id_ in some:
            if id_ in known:
                yield await with_data(conn, known.pop(id_), max_bytes)


async def every_row(conn: AsyncConnection, query: str, values: dict[str, Any]) -> AsyncIterator[OutboxRow]:
    """The rows whose ids `query` finds, whole ones; it takes `after` and `limit`, and sorts by id."""
    after = 0
    while True:
        with translated():
            found = await conn.execute(query, values | {"after": after, "limit": SCAN})
            ids = [row[0] for row in await found.fetchall()]
        if not ids:
            return
        async for row in rows(conn, ids, EventFilter(), WHOLE_BYTES):
            yield row
        after = ids[-1]


def _between(batch: Batch, after: Position, before: Position) -> list[Place]:
    """The places of `batch` between: by the events at the ends where they are of this batch, else by sequence."""
    ids = batch.ids
    first_sequence = batch.last_sequence - len(ids) + 1
    start = ids.index(after.outbox_id) + 1 if after.outbox_id in ids else max(after.sequence - first_sequence + 1, 0)
    end = ids.index(before.outbox_id) if before.outbox_id in ids else max(before.sequence - first_sequence, 0)
    return [
        Place(first_sequence + index, ids[index], batch.last_sequence) for index in range(start, min(end, len(ids)))
    ]
