"""The record of what was published, in its order: `published_batch` with the rows of the outbox that it names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.outbox.cursor import Batch
from publisher.outbox.rows import COLUMNS
from registry.errors import NotFound
from registry.events.filter import EventFilter
from registry.events.message import OutboxRow
from registry.position import Position

SCAN = 2000
"""Places looked at in one go."""

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
FROM public.outbox AS event
WHERE
    event.id = ANY(%(ids)s::bigint[])
    AND (%(entity)s::text IS NULL OR event.entity = %(entity)s)
    AND (%(action)s::text IS NULL OR event.action = %(action)s)
    AND (%(project_id)s::uuid IS NULL OR event.project_id = %(project_id)s)
    AND (%(correlation_id)s::uuid IS NULL OR coalesce(event.correlation_id, event.event_id) = %(correlation_id)s)
    AND (%(since)s::timestamptz IS NULL OR event.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR event.occurred_at < %(until)s)
"""
)

STATE = """
SELECT stream_sequence, forgotten_sequence, published @> %(outbox_id)s::bigint
FROM public.publisher_cursor
WHERE stream = %(stream)s
"""

# published_at ascends with last_sequence, so the place is found by halving: an index is not worth its upkeep.
PROBE = """
SELECT published_at
FROM public.published_batch
WHERE stream = %(stream)s AND last_sequence >= %(sequence)s
ORDER BY last_sequence
LIMIT 1
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


async def rows(conn: AsyncConnection, ids: Iterable[int], wanted: EventFilter) -> dict[int, OutboxRow]:
    """Those outbox rows of `ids` that there are and that match, as far as SQL tells (it does not look into data)."""
    values = {
        "ids": list(ids),
        "entity": wanted.entity,
        "action": wanted.action,
        "project_id": wanted.project_id,
        "correlation_id": wanted.correlation_id,
        "since": wanted.since,
        "until": wanted.until,
    }
    with translated():
        found = await (await conn.cursor(binary=True).execute(ROWS, values)).fetchall()
    return {row[0]: OutboxRow._make(row) for row in found}


async def origin(conn: AsyncConnection, stream: str, published: datetime) -> Position:
    """A position before everything that was published to `stream` at or after a time, and not long before it."""
    known = await state(conn, stream)
    first, high = known.forgotten + 1, known.last + 1
    while first < high:
        middle = (first + high) // 2
        with translated():
            probe = await (await conn.execute(PROBE, {"stream": stream, "sequence": middle})).fetchone()
        if probe is None or probe[0] >= published:
            high = middle
        else:
            first = middle + 1
    return Position(first - 1)


def _between(batch: Batch, after: Position, before: Position) -> list[Place]:
    """The places of `batch` between: by the events at the ends where they are of this batch, else by sequence."""
    ids = batch.ids
    first_sequence = batch.last_sequence - len(ids) + 1
    start = ids.index(after.outbox_id) + 1 if after.outbox_id in ids else max(after.sequence - first_sequence + 1, 0)
    end = ids.index(before.outbox_id) if before.outbox_id in ids else max(before.sequence - first_sequence, 0)
    return [
        Place(first_sequence + index, ids[index], batch.last_sequence) for index in range(start, min(end, len(ids)))
    ]
