"""Rows of the outbox: the columns that make an `OutboxRow`, and which events it holds."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import AsyncConnection

from publisher.outbox.connection import translated

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

KNOWN = """
SELECT known.event_id::text
FROM unnest(%(ids)s::bigint[], %(event_ids)s::uuid[]) AS known (id, event_id)
JOIN public.outbox USING (id, event_id)
"""


async def known_events(conn: AsyncConnection, pairs: Iterable[tuple[int, str]]) -> set[str]:
    """Those event ids of (outbox id, event id) `pairs` that this database's outbox holds under the same outbox id."""
    pairs = list(pairs)
    ids = [outbox_id for outbox_id, _ in pairs]
    event_ids = [event_id for _, event_id in pairs]
    with translated():
        found = await conn.execute(KNOWN, {"ids": ids, "event_ids": event_ids})
        return {row[0] for row in await found.fetchall()}
