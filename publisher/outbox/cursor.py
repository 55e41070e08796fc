"""The cursor of one stream: how far it is, stored together with the record of the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from publisher.outbox.connection import translated
from publisher.outbox.ranges import RangeSet, range_array, runs
from registry.errors import RegistryError

FEW_RANGES = 64
"""So many ranges of ids are stored each time; more, when the record took half as many since."""

# The cursor and the record of what it moved over are one statement: neither is ever ahead of the other. What is not set
# is not written: the new version of the row points to where the old one has its set.
# By its place: while an old transaction is open, the key leads to every version since (20,000 of them: 4 ms).
ADVANCE = """
WITH moved AS (
    UPDATE public.publisher_cursor
    SET
        published = coalesce(%(published)s::int8multirange, published),
        dead_ids = coalesce(%(dead_ids)s, dead_ids),
        withheld = coalesce(%(withheld)s, withheld),
        hindrance = %(hindrance)s,
        complete_sequence = %(complete_sequence)s,
        stream_sequence = %(stream_sequence)s,
        heartbeat_at = clock_timestamp()
    WHERE ctid = %(place)s::tid AND stream = %(stream)s AND epoch = %(epoch)s
    RETURNING pg_current_xact_id()::text::bigint AS transaction_id, ctid::text AS place
), recorded AS (
    INSERT INTO public.published_batch (stream, last_sequence, ids)
    SELECT %(stream)s, batch.last_sequence, batch.ids::int8range[]
    FROM moved
    CROSS JOIN unnest(%(last_sequences)s::bigint[], %(ids)s::text[]) AS batch (last_sequence, ids)
    ON CONFLICT (stream, last_sequence) DO UPDATE SET ids = EXCLUDED.ids
)
SELECT transaction_id, place FROM moved
"""

BEAT = """
UPDATE public.publisher_cursor
SET hindrance = %(hindrance)s, heartbeat_at = clock_timestamp()
WHERE stream = %(stream)s AND epoch = %(epoch)s
RETURNING ctid::text
"""

# One statement, and nothing else, while nothing happens. The doorbell is set first, as `set_doorbell` has it, in case
# anybody silenced it: a writer takes an id and then looks at the doorbell, so he rings it or his id is found here.
# Rows that were copied in with ids of their own took none.
BEAT_AT_REST = """
WITH beaten AS (
    UPDATE public.publisher_cursor
    SET heartbeat_at = clock_timestamp()
    WHERE ctid = %(place)s::tid AND stream = %(stream)s AND epoch = %(epoch)s
    RETURNING ctid::text AS place
)
SELECT
    place,
    CASE
        WHEN setval('public.publisher_doorbell', 1) = 1
            THEN coalesce(pg_sequence_last_value('public.outbox_id_seq'), 0) < %(unseen)s
                AND NOT EXISTS (SELECT FROM public.outbox WHERE id >= %(unseen)s)
    END
FROM beaten
"""

PLACE = "SELECT ctid::text FROM public.publisher_cursor WHERE stream = %(stream)s AND epoch = %(epoch)s"

GONE = "SELECT NOT EXISTS (SELECT FROM public.publisher_cursor WHERE stream = %(stream)s)"

FORGET_BEYOND = "DELETE FROM public.published_batch WHERE stream = %(stream)s AND last_sequence > %(stream_sequence)s"


class Deposed(RegistryError):
    """Another publisher leads this stream now, or the cursor is gone; what this one knows is out of date."""


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
    complete_sequence: int | None = None
    """The database has the set as it was at this sequence, and the record what came since; None where it may not."""
    recorded_since: int = 0
    """Ranges of ids that the record took since."""
    stored_sequence: int = 0
    """`stream_sequence` as the database has it."""
    dead_ids: int = 0
    """How many of the ids in `published` were found never to appear."""
    withheld: int = 0
    """How many of the ids in `published` are of events that do not go into this stream."""
    hindrance: str | None = None
    """Why nothing can be published now, for whoever looks from elsewhere; None when nothing hinders."""
    place: str | None = None
    """Where the row was when it was stored last: retention moves it, too."""
    stored_at: float = field(default_factory=monotonic)
    """When the heartbeat was stored last, by this process' clock."""

    @property
    def must_be_stored_whole(self) -> bool:
        """Whether the set itself must be stored: when it is small, or the record does not tell the rest of it.

        Also when the record took half as many ranges as it has: so it adds little to what the record costs, and who
        takes over reads less of the record than of the set.
        """
        ranges = len(self.published)
        return (
            ranges <= FEW_RANGES
            or self.complete_sequence is None
            or self.stream_sequence < self.stored_sequence
            or 2 * self.recorded_since > ranges
        )


def withhold(cursor: Cursor, ids: Sequence[int]) -> None:
    """Pass `ids`, of committed events that do not go into the stream. The record does not tell them: the set does."""
    cursor.published.add_all(ids)
    cursor.withheld += len(ids)
    cursor.complete_sequence = None


async def advance(conn: AsyncConnection, cursor: Cursor) -> None:
    """Store `cursor`, which is also the leader's heartbeat, and record in which order its events were published.

    Raises `Deposed` when another epoch has begun.
    """
    recorded = [runs(batch.ids) for batch in cursor.unrecorded]
    is_whole = cursor.must_be_stored_whole
    complete_sequence = cursor.stream_sequence if is_whole else cursor.complete_sequence
    values = {
        "published": cursor.published.as_multirange() if is_whole else None,
        "dead_ids": cursor.dead_ids if is_whole else None,
        "withheld": cursor.withheld if is_whole else None,
        "hindrance": cursor.hindrance,
        "complete_sequence": complete_sequence,
        "stream_sequence": cursor.stream_sequence,
        "stream": cursor.stream,
        "epoch": cursor.epoch,
        "last_sequences": [batch.last_sequence for batch in cursor.unrecorded],
        "ids": [range_array(ranges) for ranges in recorded],
    }
    with translated():
        row = None
        if cursor.place is not None:
            row = await (await conn.execute(ADVANCE, values | {"place": cursor.place})).fetchone()
        while row is None:
            found = await (await conn.execute(PLACE, values)).fetchone()
            if found is None:
                raise await _deposed(conn, cursor)
            row = await (await conn.execute(ADVANCE, values | {"place": found[0]})).fetchone()
    cursor.transaction_id, cursor.place = row
    cursor.stored_at = monotonic()
    cursor.complete_sequence, cursor.stored_sequence = complete_sequence, cursor.stream_sequence
    cursor.recorded_since = 0 if is_whole else cursor.recorded_since + sum(map(len, recorded))
    cursor.unrecorded.clear()


async def beat(conn: AsyncConnection, cursor: Cursor) -> None:
    """Store the heartbeat and what hinders alone: `cursor` may be about to change. Raises `Deposed`, `Unavailable`."""
    values = {"hindrance": cursor.hindrance, "stream": cursor.stream, "epoch": cursor.epoch}
    with translated():
        row = await (await conn.execute(BEAT, values)).fetchone()
        if row is None:
            raise await _deposed(conn, cursor)
    (cursor.place,) = row
    cursor.stored_at = monotonic()


async def beat_at_rest(conn: AsyncConnection, cursor: Cursor, unseen: int) -> bool:
    """Store the heartbeat and set the doorbell; True when no outbox id from `unseen` on is handed out or used.

    Raises `Deposed`, `Unavailable`.
    """
    values = {"place": cursor.place, "stream": cursor.stream, "epoch": cursor.epoch, "unseen": Int8(unseen)}
    with translated():
        row = await (await conn.execute(BEAT_AT_REST, values)).fetchone()
    if row is None:  # the row was moved, or is somebody else's
        await beat(conn, cursor)
        return False
    cursor.place, is_quiet = row
    cursor.stored_at = monotonic()
    return bool(is_quiet)


async def forget_beyond(conn: AsyncConnection, cursor: Cursor) -> None:
    """Remove the record of what lies beyond `cursor`, as after a cursor that was set back: the tail tells it again."""
    with translated():
        await conn.execute(FORGET_BEYOND, {"stream": cursor.stream, "stream_sequence": cursor.stream_sequence})


async def _deposed(conn: AsyncConnection, cursor: Cursor) -> Deposed:
    is_gone = await (await conn.execute(GONE, {"stream": cursor.stream})).fetchone() == (True,)
    why = "its row of publisher_cursor is gone" if is_gone else "another publisher leads"
    return Deposed(f"stream {cursor.stream}: epoch {cursor.epoch} is over, {why}")
