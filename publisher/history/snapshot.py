"""Snapshots of the registry for readers: all tables, and the position they belong to, in one snapshot.

The position is the cursor's, plus the outbox ids that are visible but not published yet: their events come behind it
and are in the tables already. Why that is exact: docs/adr/0006-history.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import orjson
import psycopg
from psycopg import AsyncConnection
from psycopg.types.string import ByteaBinaryLoader

from publisher.outbox.blocked import holder_named
from publisher.outbox.connection import LOOKER, connect, translated
from registry.database.errors import is_of_a_value
from registry.database.projects import PROJECTS
from registry.database.sizes import WHOLE_BYTES, Told
from registry.database.worktree_types import WORKTREE_TYPES
from registry.database.worktrees import WORKTREES
from registry.history.snapshot import END, PROJECT, WORKTREE, WORKTREE_TYPE
from registry.position import Position

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

CONFIRMATIONS, CONFIRMATION_BYTES = 8, 64 * 1024
"""Kept of those that nobody waits for yet: a reader may send any number."""
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

SHORT_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024
SLICE_BYTES = 512 * 1024
ROWS_AT_ONCE = 200
"""Short rows that are fetched together: COPY gives each by itself, which takes as long as PostgreSQL takes for it."""
TABLES = {WORKTREE_TYPE: WORKTREE_TYPES, PROJECT: PROJECTS, WORKTREE: WORKTREES}
"""What the lines of a table begin with, to what is told of its rows."""

# Lines of `registry/history/snapshot.py`; the columns are those of `registry/models`. A row that is not short, or is
# not before it is looked at, is a line of its id alone, behind the same letter in upper case: it is read alone later.
SHORT_ROWS = """
SELECT CASE WHEN octet_length(line.text) <= {short} THEN '{kind}' || line.text ELSE '{long_kind}' || found.id END
FROM ({query}) AS found
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN pg_column_size(found.metadata) {sizes} > {short} THEN NULL
        WHEN pg_column_size(found.metadata #> '{{}}') > {short} THEN NULL
        ELSE row_to_json(found)::text
    END AS text
    OFFSET 0
) AS line
"""

# In slices, as bytes: libpq holds a value that comes as one three times.
LONG_ROW = """
SELECT substring(line.text FROM slice.start FOR {slice})
FROM (
    SELECT convert_to(row_to_json(shown)::text, 'UTF8') AS text
    FROM ({query}) AS shown
    OFFSET 0
) AS line
CROSS JOIN LATERAL generate_series(1, octet_length(line.text), {slice}) AS slice (start)
"""


Lines = Callable[[AsyncConnection, str], AsyncIterator[bytes]]
"""The lines of a snapshot, in pieces, out of a database and for the stream of this name."""


async def send_snapshot(database_url: str, client: Client, stream: str, inbox: str, lines: Lines) -> None:
    """Send a snapshot to `inbox`, chunk by chunk as the reader confirms. Raises `Unavailable` when either is away."""
    from registry.broker.errors import translated_nats  # here, so that who reads tables alone imports no NATS

    confirmations = await client.subscribe(
        client.new_inbox(), pending_msgs_limit=CONFIRMATIONS, pending_bytes_limit=CONFIRMATION_BYTES
    )
    try:
        with translated_nats("snapshot given up, its reader does not confirm"):
            async with connect(database_url, "imi-registry snapshot", LOOKER) as conn, holder_named(conn):
                sent = False
                async for chunk in _chunks(lines(conn, stream), min(client.max_payload // 2, CHUNK_BYTES)):
                    if sent:
                        await _confirmed(confirmations)
                    await client.publish(inbox, chunk, reply=confirmations.subject)
                    sent = True  # the next chunk is read while the reader takes this one
                await _confirmed(confirmations)
    finally:
        await confirmations.unsubscribe()


async def snapshot_lines(conn: AsyncConnection, stream: str) -> AsyncIterator[bytes]:
    """The lines of a snapshot, in pieces of some or of a part of one, in a transaction of its own."""
    with translated():
        await conn.execute(BEGIN)
        yield orjson.dumps({"position": str(await position_now(conn, stream))}) + b"\n"
        async for piece in table_lines(conn):
            yield piece
        await conn.execute("COMMIT")
    yield END + b"\n"


async def position_now(conn: AsyncConnection, stream: str) -> Position:
    """The position that belongs to the tables as the caller's transaction sees them."""
    sequence, waiting = await (await conn.execute(POSITION, {"stream": stream})).fetchone() or (0, None)
    return Position(sequence, included=tuple((part.lower, part.upper) for part in waiting or ()))


async def table_lines(conn: AsyncConnection, most_bytes: int = WHOLE_BYTES) -> AsyncIterator[bytes]:
    """The rows of all tables as lines, in pieces of some or of a part of one, in the caller's transaction.

    A row with larger values than `most_bytes` together is shortened, and so is one whose values PostgreSQL cannot give.
    Where that fails a table, each of its rows is read alone; those that were told before are told twice.
    """
    for kind, rows in TABLES.items():
        long_ids: list[str] = []
        try:
            async for line in _short_lines(conn, kind, rows, SHORT_BYTES, long_ids):
                yield line
        except psycopg.Error as error:
            if not is_of_a_value(error):
                raise
            long_ids.clear()
            async for _ in _short_lines(conn, kind, rows, -1, long_ids):
                pass
        for row_id in long_ids:
            async for piece in _long_row(conn, kind, rows, row_id, most_bytes):
                yield piece


async def _short_lines(
    conn: AsyncConnection, kind: bytes, rows: Told, short_bytes: int, long_ids: list[str]
) -> AsyncIterator[bytes]:
    """The lines of rows that are short; the ids of the others go into `long_ids`."""
    async with conn.transaction(), conn.cursor("short_rows", binary=True) as cursor:
        cursor.adapters.register_loader("text", ByteaBinaryLoader)  # the bytes of a text, as they are sent on
        await conn.execute("SET LOCAL cursor_tuple_fraction = 1")  # all rows are read
        await cursor.execute(_short_rows(kind, rows, short_bytes).encode())
        while found := [line for (line,) in await cursor.fetchmany(ROWS_AT_ONCE)]:
            short = [line for line in found if line.startswith(kind)]
            if len(short) < len(found):
                long_ids.extend(line[1:].decode() for line in found if not line.startswith(kind))
            if short:
                yield b"\n".join(short) + b"\n"


def _short_rows(kind: bytes, rows: Told, short_bytes: int) -> str:
    letter = kind.decode()
    sizes = "".join(f" + coalesce(octet_length(found.{name}), 0)" for name in rows.texts)
    return SHORT_ROWS.format(short=short_bytes, kind=letter, long_kind=letter.upper(), query=rows.query, sizes=sizes)


async def _long_row(
    conn: AsyncConnection, kind: bytes, rows: Told, row_id: str, most_bytes: int
) -> AsyncIterator[bytes]:
    """The line of one row in slices; shortened where PostgreSQL cannot give its values."""
    query = LONG_ROW.format(slice=SLICE_BYTES, query=rows.sql(f"WHERE {rows.key} = %s"))
    for most in (most_bytes, -1):
        is_begun = False
        try:
            async with conn.transaction(), conn.cursor(binary=True) as cursor:
                async for (part,) in cursor.stream(query.encode(), [most, row_id], binary=True):
                    yield bytes(part) if is_begun else kind + part
                    is_begun = True
        except psycopg.Error as error:
            if is_begun or most < 0 or not is_of_a_value(error):
                raise
        else:
            yield b"\n"
            return


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
    from nats.errors import NoRespondersError

    message = await confirmations.next_msg(CONFIRM_SECONDS)
    if (message.headers or {}).get("Status") == "503":
        raise NoRespondersError
