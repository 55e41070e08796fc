"""What the database tells about each stream that is fed from it: how far it is, who feeds it, what waits and why."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from publisher.outbox.connection import translated

MOST_WAITING = 100_000
"""Events that wait are counted up to so many: who asks, and asks again, is not to read a long outbox each time."""

# Of ids in flight the first thousand gaps are looked at: a row in one of them waits as those above do, also while the
# relay stands still.
KNOWN = """
WITH known AS MATERIALIZED (
    SELECT
        named.stream AS name,
        cursor.*,
        coalesce(CASE WHEN cursor.stream IS NOT NULL THEN public.published_ids(cursor) END, '{}') AS ids
    FROM (
        SELECT %(stream)s::text AS stream
        UNION
        SELECT stream
        FROM public.publisher_cursor
    ) AS named
    LEFT JOIN public.publisher_cursor AS cursor ON cursor.stream = named.stream
)
SELECT
    known.name,
    known.stream IS NOT NULL,
    coalesce(known.stream_sequence, 0),
    coalesce(known.forgotten_sequence, 0),
    coalesce(known.examined_sequence, 0),
    known.leader,
    coalesce(extract(epoch FROM clock_timestamp() - known.heartbeat_at), 0)::float8,
    known.hindrance,
    coalesce(known.dead_ids, 0),
    coalesce(known.withheld, 0),
    (SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM unnest(known.ids) AS part)::bigint
        - coalesce(known.dead_ids, 0) - coalesce(known.withheld, 0),
    (
        SELECT extract(epoch FROM clock_timestamp() - batch.published_at)::float8
        FROM public.published_batch AS batch
        WHERE batch.stream = known.name
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
        (
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
                LIMIT %(most)s
            ) AS event
            LIMIT %(most)s
        )
        UNION ALL
        (
            SELECT id
            FROM public.outbox
            WHERE id >= coalesce(upper(known.ids), 1)
            ORDER BY id
            LIMIT %(most)s
        )
        LIMIT %(most)s
    ) AS unpublished
) AS waiting
ORDER BY known.name
"""


class Known(NamedTuple):
    """What the database says about one stream."""

    stream: str
    is_fed: bool
    """Whether a publisher ever led; all events wait where none did."""
    last: int
    """Sequence of the last event the publisher knows to be in it."""
    forgotten: int
    """The record of events up to this sequence is gone."""
    examined: int
    """In a shared stream each event of ours up to this sequence was found in the outbox."""
    leader: str | None
    heartbeat_age_seconds: float
    """Since a publisher was heard last; 0 where none was."""
    hindrance: str | None
    """Why the publisher cannot publish, as it said last; None when nothing hinders it."""
    dead_ids: int
    """Ids that were handed out and will never be events: their transactions were rolled back."""
    withheld: int
    """Events that do not go into the stream: its contract has no name for them."""
    published: int
    """Events that went out since there is this database."""
    published_seconds_ago: float | None
    """When the last one did; None when there is no record of any."""
    waiting: int
    """Events that are committed and not published, counted up to `MOST_WAITING`."""
    first_waiting: int
    """Outbox id of the first of these; 0 when none waits."""
    waiting_seconds: float | None
    """How long ago that one occurred; None when none waits, or its time is none."""

    @property
    def told(self) -> str:
        """How many wait, for people."""
        more = " or more" if self.waiting >= MOST_WAITING else ""
        return f"{self.waiting:,}{more}"

    def seems_stuck(self, seconds: float) -> bool:
        """Whether an event waits that is older than `seconds`, and nothing went out for as long.

        The time of an event is that of its change: one that waited for its transaction is older than it seems here.
        """
        if not self.waiting or (self.waiting_seconds is not None and self.waiting_seconds < seconds):
            return False
        return self.published_seconds_ago is None or self.published_seconds_ago >= seconds


async def known_streams(conn: AsyncConnection, stream: str) -> list[Known]:
    """Of `stream`, whether it was fed or not, and of each other one that was, by name. Raises `Unavailable`."""
    with translated():
        rows = await (await conn.execute(KNOWN, {"stream": stream, "most": MOST_WAITING})).fetchall()
    return [Known(*row) for row in rows]


async def known_stream(conn: AsyncConnection, stream: str) -> Known:
    """Of one stream. Raises `Unavailable`."""
    (found,) = (known for known in await known_streams(conn, stream) if known.stream == stream)
    return found
