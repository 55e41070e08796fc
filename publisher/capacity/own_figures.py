"""What an event of one registry takes: of its latest ones, as they are stored and as they are published."""

from __future__ import annotations

from publisher.capacity.estimate import MEASURED, Figures
from publisher.outbox import record
from publisher.outbox.connection import connect, translated
from publisher.settings import Settings, profile_of
from registry.errors import NotFound
from registry.events.filter import EventFilter
from registry.profiles.profile import encoded

LATEST = 1000
"""Events looked at."""
MAX_PAYLOAD = 1024 * 1024
"""What nats-server takes, unless it is told otherwise; a larger event goes out as a reference."""
STREAM_RECORD_BYTES = 34
"""What nats-server's file store adds to a message: lengths, sequence, time and checksum, and the end of the headers."""
LINE_POINTER_BYTES = 4
INDEX_ENTRY_BYTES = 22
"""Of a key of eight bytes, in pages that are nine tenths full."""
RECORD_INDEX_ENTRY_BYTES = 40

IDS = "SELECT id FROM public.outbox ORDER BY id DESC LIMIT %(latest)s"

# The whole row as one value would have its data decompressed.
STORED = """
SELECT coalesce(
    avg(
        pg_column_size(event.data)
        + pg_column_size(
            ROW(
                event.transaction_id, event.id, event.event_id, event.occurred_at, event.entity, event.action,
                event.project_id, event.entity_id, event.actor, event.correlation_id, event.causation_id,
                event.traceparent, event.actor_is_verified, event.host_id
            )
        )
    ),
    0
)::float8
FROM public.outbox AS event
WHERE event.id = ANY(%(ids)s::bigint[])
"""

# A batch is one row, whether it has one event or a thousand.
RECORDED = """
SELECT
    coalesce(sum(pg_column_size(batch.*) + %(overhead)s)::float8 / nullif(sum(batch.events), 0), 0)::float8
FROM (
    SELECT
        published.*,
        (SELECT sum(upper(part) - lower(part)) FROM unnest(published.ids) AS part) AS events
    FROM public.published_batch AS published
    WHERE published.stream = %(stream)s
    ORDER BY published.last_sequence DESC
    LIMIT %(latest)s
) AS batch
"""


async def own_figures(settings: Settings) -> Figures:
    """The measured figures with the bytes of the latest events of a registry instead.

    Raises `NotFound` when it has none, `Unavailable`.
    """
    profile = profile_of(settings)
    async with connect(settings.database_url or "", "imi-registry capacity") as conn:
        with translated():
            ids = [row[0] for row in await (await conn.execute(IDS, {"latest": LATEST})).fetchall()]
            (stored,) = await (await conn.execute(STORED, {"ids": ids})).fetchone() or (0.0,)
            values = {
                "stream": profile.event_stream,
                "latest": LATEST,
                "overhead": LINE_POINTER_BYTES + RECORD_INDEX_ENTRY_BYTES,
            }
            (recorded,) = await (await conn.execute(RECORDED, values)).fetchone() or (0.0,)
        published = []
        async for row in record.rows(conn, ids, EventFilter(), MAX_PAYLOAD):
            message = encoded(profile, row, MAX_PAYLOAD)
            published.append(len(message.subject) + len(message.headers) + len(message.payload) + STREAM_RECORD_BYTES)
    if not published:  # there are none, or retention has removed them meanwhile
        raise NotFound("this registry has no events: leave out the database, or write something first")
    outbox_bytes = stored + LINE_POINTER_BYTES + INDEX_ENTRY_BYTES + recorded
    return MEASURED._replace(
        outbox_bytes=outbox_bytes,
        stream_bytes=sum(published) / len(published),
        wal_bytes=MEASURED.wal_bytes + outbox_bytes - MEASURED.outbox_bytes,
        source=f"the latest {len(published):,} events of this registry",
    )
