"""The cursor of one stream: how far it is, stored together with the record of the order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated
from publisher.outbox.ranges import RangeSet, range_array, runs
from registry.errors import RegistryError

# The cursor and the record of what it moved over are one statement: neither is ever ahead of the other.
ADVANCE = """
WITH moved AS (
    UPDATE public.publisher_cursor
    SET
        published = %(published)s::int8multirange,
        stream_sequence = %(stream_sequence)s,
        heartbeat_at = clock_timestamp()
    WHERE stream = %(stream)s AND epoch = %(epoch)s
    RETURNING pg_current_xact_id()::text::bigint AS transaction_id
), recorded AS (
    INSERT INTO public.published_batch (stream, last_sequence, ids)
    SELECT %(stream)s, batch.last_sequence, batch.ids::int8range[]
    FROM moved
    CROSS JOIN unnest(%(last_sequences)s::bigint[], %(ids)s::text[]) AS batch (last_sequence, ids)
    ON CONFLICT (stream, last_sequence) DO UPDATE SET ids = EXCLUDED.ids
)
SELECT transaction_id FROM moved
"""

FORGET_BEYOND = "DELETE FROM public.published_batch WHERE stream = %(stream)s AND last_sequence > %(stream_sequence)s"


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
