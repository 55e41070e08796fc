"""Snapshots of the registry for `registry/snapshot.py`: all tables, and the position they belong to, in one snapshot.

The position is the cursor's, plus the outbox ids that are visible but not published yet: their events come behind it
and are in the tables already. Why that is exact: docs/adr/0006-history.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import nats.errors
import orjson
from nats.aio.client import Client
from psycopg import AsyncConnection

from publisher import outbox
from publisher.outbox import translated
from registry.broker import from_nats
from registry.position import Position
from registry.snapshot import END

CONFIRM_SECONDS = 10.0
"""A reader that does not take a chunk for so long is given up: the transaction holds back vacuum meanwhile."""

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

POSITION = """
WITH cursor AS (
    SELECT stream_sequence, published, coalesce(upper(published), 1) AS above
    FROM publisher_cursor
    WHERE stream = %(stream)s
), waiting AS (
    SELECT id
    FROM outbox
    WHERE id >= coalesce((SELECT above FROM cursor), 1)
    UNION ALL
    SELECT outbox.id
    FROM cursor
    CROSS JOIN LATERAL unnest(int8multirange(int8range(1, above)) - published) AS gap (range)
    JOIN outbox ON outbox.id >= lower(gap.range) AND outbox.id < upper(gap.range)
)
SELECT
    coalesce((SELECT stream_sequence FROM cursor), 0),
    (SELECT range_agg(int8range(id, id + 1)) FROM waiting)
"""

# Lines of `registry/snapshot.py`; the columns are those of `registry/models.py`.
ROWS = """
COPY (
    SELECT 't' || to_jsonb(t)::text FROM worktree_types AS t
    UNION ALL
    SELECT 'p' || to_jsonb(p)::text FROM projects AS p
    UNION ALL
    SELECT 'w' || (to_jsonb(w) || jsonb_build_object(
        'project_name', p.name,
        'type_name', t.name,
        'status', worktree_status(w.has_uncommitted_changes, w.ahead_of_trunk, w.behind_trunk)
    ))::text
    FROM worktrees AS w
    JOIN projects AS p ON p.id = w.project_id
    JOIN worktree_types AS t ON t.id = w.type_id
) TO STDOUT
"""


async def send_snapshot(database_url: str, client: Client, stream: str, inbox: str) -> None:
    """Send a snapshot to `inbox`, chunk by chunk as the reader confirms. Raises `Unavailable` when either is away."""
    size = client.max_payload // 2
    async with outbox.connect(database_url, "imi-registry snapshot") as conn:
        chunk = b""
        async for line in snapshot_lines(conn, stream):
            chunk += line
            while len(chunk) > size:
                await _send(client, inbox, chunk[:size])
                chunk = chunk[size:]
        await _send(client, inbox, chunk)


async def snapshot_lines(conn: AsyncConnection, stream: str) -> AsyncIterator[bytes]:
    """The lines of a snapshot, in a transaction of its own."""
    with translated():
        await conn.execute(BEGIN)
        await conn.execute("SET LOCAL enable_seqscan = on")
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


async def _send(client: Client, inbox: str, chunk: bytes) -> None:
    try:
        await client.request(inbox, chunk, timeout=CONFIRM_SECONDS)
    except (nats.errors.Error, TimeoutError) as error:
        raise from_nats(error, "snapshot given up, its reader does not confirm") from error
