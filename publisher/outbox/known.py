"""What the database tells about each stream that is fed from it: how far it is, who feeds it, what waits and why."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated

# Of ids in flight the first thousand gaps are looked at: a row in one of them waits as those above do.
KNOWN = """
WITH known AS MATERIALIZED (
    SELECT cursor.*, public.published_ids(cursor) AS ids
    FROM public.publisher_cursor AS cursor
)
SELECT
    known.stream,
    known.stream_sequence,
    known.forgotten_sequence,
    known.leader,
    extract(epoch FROM clock_timestamp() - known.heartbeat_at)::float8,
    known.hindrance,
    known.dead_ids,
    (SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM unnest(known.ids) AS part)::bigint - known.dead_ids,
    (
        SELECT extract(epoch FROM clock_timestamp() - batch.published_at)::float8
        FROM public.published_batch AS batch
        WHERE batch.stream = known.stream
        ORDER BY batch.last_sequence DESC
        LIMIT 1
    ),
    waiting.events,
    coalesce(waiting.first_id, 0),
    (
        SELECT CASE
            WHEN isfinite(event.occurred_at)
            THEN extract(epoch FROM clock_timestamp() - event.occurred_at)::float8
        END
        FROM public.outbox AS event
        WHERE event.id = waiting.first_id
    )
FROM known
CROSS JOIN LATERAL (
    SELECT count(*) AS events, min(id) AS first_id
    FROM (
        SELECT id
        FROM public.outbox
        WHERE id >= coalesce(upper(known.ids), 1)
        UNION ALL
        SELECT event.id
        FROM (
            SELECT part
            FROM unnest(
                int8multirange(int8range(1, coalesce(upper(known.ids), 1))) - known.ids
            ) AS part
            LIMIT 1000
        ) AS gap
        CROSS JOIN LATERAL (
            SELECT id
            FROM public.outbox
            WHERE id >= lower(gap.part) AND id < upper(gap.part)
        ) AS event
    ) AS unpublished
) AS waiting
ORDER BY known.stream
"""


class Known(NamedTuple):
    """What the database says about one stream."""

    stream: str
    last: int
    """Sequence of the last event the publisher knows to be in it."""
    forgotten: int
    """The record of events up to this sequence is gone."""
    leader: str | None
    heartbeat_age_seconds: float
    hindrance: str | None
    """Why the publisher cannot publish, as it said last; None when nothing hinders it."""
    dead_ids: int
    """Ids that were handed out and will never be events: their transactions were rolled back."""
    published: int
    """Events that went out since there is this database."""
    published_seconds_ago: float | None
    """When the last one did; None when there is no record of any."""
    waiting: int
    """Events that are committed and not published."""
    first_waiting: int
    """Outbox id of the first of these; 0 when none waits."""
    waiting_seconds: float | None
    """How long ago that one occurred; None when none waits, or its time is none."""

    def seems_stuck(self, seconds: float) -> bool:
        """Whether an event waits that is older than `seconds`, and nothing went out for as long.

        The time of an event is that of its change: one that waited for its transaction is older than it seems here.
        """
        if not self.waiting or (self.waiting_seconds is not None and self.waiting_seconds < seconds):
            return False
        return self.published_seconds_ago is None or self.published_seconds_ago >= seconds


async def known_streams(conn: AsyncConnection) -> list[Known]:
    """Of each stream, by name. Raises `Unavailable`."""
    with translated():
        return [Known(*row) for row in await (await conn.execute(KNOWN)).fetchall()]


async def known_stream(conn: AsyncConnection, stream: str) -> Known | None:
    """Of one stream; None when nothing was ever published to it. Raises `Unavailable`."""
    return next((known for known in await known_streams(conn) if known.stream == stream), None)
