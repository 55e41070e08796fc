"""Snapshots of the registry for readers: all tables, and the position they belong to, in one snapshot.

The position is the cursor's, plus the outbox ids that are visible but not published yet: their events come behind it
and are in the tables already. Why that is exact: docs/adr/0006-history.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from psycopg import AsyncConnection

from publisher.outbox.connection import connect, translated
from registry.broker.errors import translated_nats
from registry.history.snapshot import END
from registry.position import Position

CONFIRM_SECONDS = 10.0
"""A reader that does not take a chunk for so long is given up: the transaction holds back vacuum meanwhile."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

POSITION = """
WITH known AS MATERIALIZED (
    SELECT stream_sequence, public.published_ids(cursor) AS published
    FROM public.publisher_cursor AS cursor
    WHERE stream = %(stream)s
), cursor AS (
    SELECT stream_sequence, published, coalesce(upper(published), 1) AS above
    FROM known
), waiting AS (
    SELECT id
    FROM public.outbox
    WHERE id >= coalesce((SELECT above FROM cursor), 1)
    UNION ALL
    SELECT outbox.id
    FROM cursor
    CROSS JOIN LATERAL unnest(int8multirange(int8range(1, above)) - published) AS gap (range)
    JOIN public.outbox ON outbox.id >= lower(gap.range) AND outbox.id < upper(gap.range)
)
SELECT
    coalesce((SELECT stream_sequence FROM cursor), 0),
    (SELECT range_agg(int8range(id, id + 1)) FROM waiting)
"""

# Lines of `registry/history/snapshot.py`; the columns are those of `registry/models.py`.
ROWS = """
COPY (
    SELECT 't' || row_to_json(t)::text FROM public.worktree_types AS t
    UNION ALL
    SELECT 'p' || row_to_json(p)::text FROM public.projects AS p
    UNION ALL
    SELECT 'w' || row_to_json(w)::text
    FROM (
        SELECT
            worktrees.*, projects.name AS project_name, worktree_types.name AS type_name,
            public.worktree_status(has_uncommitted_changes, ahead_of_trunk, behind_trunk) AS status
        FROM public.worktrees
        JOIN public.projects ON projects.id = worktrees.project_id
        JOIN public.worktree_types ON worktree_types.id = worktrees.type_id
    ) AS w
) TO STDOUT
"""


async def send_snapshot(database_url: str, client: Client, stream: str, inbox: str) -> None:
    """Send a snapshot to `inbox`, chunk by chunk as the reader confirms. Raises `Unavailable` when either is away."""
    confirmations = await client.subscribe(client.new_inbox())
    try:
        with translated_nats("snapshot given up, its reader does not confirm"):
            async with connect(database_url, "imi-registry snapshot") as conn:
                sent = False
                async for chunk in _chunks(snapshot_lines(conn, stream), client.max_payload // 2):
                    if sent:
                        await _confirmed(confirmations)
                    await client.publish(inbox, chunk, reply=confirmations.subject)
                    sent = True  # the next chunk is read while the reader takes this one
                await _confirmed(confirmations)
    finally:
        await confirmations.unsubscribe()


async def snapshot_lines(conn: AsyncConnection, stream: str) -> AsyncIterator[bytes]:
    """The lines of a snapshot, in a transaction of its own."""
    with translated():
        await conn.execute(BEGIN)
        sequence, waiting = await (await conn.execute(POSITION, {"stream": stream})).fetchone() or (0, None)
        included = tuple((part.lower, part.upper) for part in waiting or ())
        yield orjson.dumps({"position": str(Position(sequence, included=included))}) + b"\n"
        async for line in table_lines(conn):
            yield line
        await conn.execute("COMMIT")
    yield END + b"\n"


async def table_lines(conn: AsyncConnection) -> AsyncIterator[bytes]:
    """The rows of all tables as lines, in the caller's transaction."""
    async with conn.cursor().copy(ROWS) as rows:
        async for data in rows:
            # COPY's text form escapes the backslash, which JSON text is full of; it has nothing else to escape.
            yield bytes(data).replace(b"\\\\", b"\\")


async def _chunks(lines: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """`lines` in pieces of at most `size` bytes; a longer line is cut."""
    parts: list[bytes] = []
    length = 0
    async for line in lines:
        parts.append(line)
        length += len(line)
        if length < size:
            continue
        joined = b"".join(parts)
        whole = length - length % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        parts, length = [joined[whole:]], length - whole
    yield b"".join(parts)


async def _confirmed(confirmations: Subscription) -> None:
    message = await confirmations.next_msg(CONFIRM_SECONDS)
    if (message.headers or {}).get("Status") == "503":
        raise nats.errors.NoRespondersError
