"""Retention: old events leave the outbox in small steps, oldest published first, never one that is not published."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import monotonic
from typing import NamedTuple

import structlog
from psycopg import AsyncConnection

from publisher.health import Health
from publisher.outbox.connection import LEADER, connect, translated
from publisher.outbox.faults import forget_removed
from publisher.part import Part
from publisher.settings import Settings

log = structlog.get_logger()

STEP_EVENTS = 1000
"""Events removed in one transaction, about; a batch that was published as one goes as one."""
INTERVAL_SECONDS = 3600.0

# The oldest batches of each stream, as long as all their events are old enough and published to every stream. They and
# their events go together, so that the record begins with a whole batch, and `forgotten_sequence` tells where.
STEP = """
WITH oldest AS (
    SELECT
        batch.stream,
        batch.last_sequence,
        batch.ids,
        sum(size.events) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) - size.events AS events_before,
        bool_and(is_done.removable) OVER (PARTITION BY batch.stream ORDER BY batch.last_sequence) AS removable
    FROM public.publisher_cursor AS cursor
    CROSS JOIN LATERAL (
        SELECT *
        FROM public.published_batch
        WHERE published_batch.stream = cursor.stream
        ORDER BY last_sequence
        LIMIT %(step)s
    ) batch
    CROSS JOIN LATERAL (
        SELECT sum(upper(part) - lower(part)) AS events FROM unnest(batch.ids) AS part
    ) size
    CROSS JOIN LATERAL (
        SELECT
            batch.published_at < now() - %(keep)s
            AND NOT EXISTS (
                SELECT
                FROM public.publisher_cursor AS other
                WHERE NOT other.published @> (SELECT range_agg(part) FROM unnest(batch.ids) AS part)
            ) AS removable
    ) is_done
), chosen AS (
    SELECT stream, last_sequence, ids
    FROM oldest
    WHERE removable AND events_before < %(step)s
), forgotten AS (
    DELETE FROM public.published_batch AS batch
    USING chosen
    WHERE batch.stream = chosen.stream AND batch.last_sequence = chosen.last_sequence
), marked AS (
    UPDATE public.publisher_cursor AS cursor
    SET forgotten_sequence = greatest(cursor.forgotten_sequence, latest.last_sequence)
    FROM (SELECT stream, max(last_sequence) AS last_sequence FROM chosen GROUP BY stream) AS latest
    WHERE cursor.stream = latest.stream
), removed AS (
    DELETE FROM public.outbox
    WHERE id IN (
        SELECT generate_series(lower(part), upper(part) - 1)
        FROM chosen
        CROSS JOIN LATERAL unnest(chosen.ids) AS part
    )
    RETURNING id
)
SELECT (SELECT count(*) FROM removed), (SELECT count(*) FROM chosen)
"""


class Removed(NamedTuple):
    """What one run removed."""

    events: int
    batches: int


async def remove_old(conn: AsyncConnection, keep: timedelta) -> Removed:
    """Remove the events that were published longer ago than `keep`, with pauses as long as the work. `conn` commits."""
    total = Removed(0, 0)
    while True:
        began = monotonic()
        with translated():
            row = await (await conn.execute(STEP, {"keep": keep, "step": STEP_EVENTS})).fetchone()
        events, batches = row or (0, 0)
        if not batches:
            await forget_removed(conn)
            return total
        total = Removed(total.events + events, total.batches + batches)
        await asyncio.sleep(monotonic() - began)  # at most half of what one connection can do


class Retention(Part):
    """Removes old events every hour. Any number of publishers may do so: each step is one statement."""

    def __init__(self, settings: Settings, health: Health) -> None:
        super().__init__(settings, health, "retention")

    async def work(self) -> None:
        """Remove old events until cancelled; return when the setting keeps them for ever."""
        self.settled.set()
        days = self._settings.outbox_retention_days
        while keep := timedelta(days=days):
            async with connect(self._database_url, self._name, LEADER) as conn:
                removed = await remove_old(conn, keep)
            self.health.well()
            if removed.events:
                log.info("old events removed", events=removed.events, older_than_days=days)
            await asyncio.sleep(INTERVAL_SECONDS)
